#!/usr/bin/env bats
# Snapshots through a real NGINX cache, configured as docs/operations.md shows.

load common

HOSTS=20

metric() { curl -sS "$URL/metrics" | sed -nE "s/^$1 ([0-9]+)$/\1/p"; }

# start_cache: sets CACHE_URL. The configuration is the documented one, with this test's places.
start_cache() {
  local port
  port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
  mkdir -p "$DIR/nginx"
  {
    [ "$(id -u)" != 0 ] || echo "user root;"
    printf 'pid %s/nginx.pid;\nevents {}\nhttp {\naccess_log off;\n' "$DIR/nginx"
    for path in client_body proxy fastcgi uwsgi scgi; do echo "${path}_temp_path $DIR/nginx/$path;"; done
    sed -n '/^```nginx$/,/^```$/p' "$BATS_TEST_DIRNAME/../../docs/operations.md" | grep -v '^```' |
      sed -e "s#/var/cache/nginx/realmstore#$DIR/nginx/cache#" \
        -e "s#server 127.0.0.1:8080;#server ${URL#http://};#" \
        -e "s#listen 8081;#listen 127.0.0.1:$port;#"
    echo '}'
  } >"$DIR/nginx/nginx.conf"
  nginx -p "$DIR/nginx" -c "$DIR/nginx/nginx.conf" -e "$DIR/nginx/error.log" -g 'daemon off;' 3>&- &
  PIDS+=("$!")
  NGINX_PID=$!
  CACHE_URL="http://127.0.0.1:$port"
  until_true curl -sS -o /dev/null "$CACHE_URL/healthz"
}

teardown_nginx() {
  [ -z "${NGINX_PID:-}" ] || kill -TERM "$NGINX_PID" 2>/dev/null || true
  [ -z "${NGINX_PID:-}" ] || wait "$NGINX_PID" 2>/dev/null || true
}

@test "twenty agents behind a cache cost the control plane one transfer, and a token is still needed" {
  start_control
  start_cache
  realm=$(make_realm prod "$CP_A")
  for i in {1..20}; do consumer=$(make_consumer "$realm" "user-$i"); done
  secret=$(make_key "$realm" "$consumer")
  data_plane_token "$CP_A" >"$DIR/shared.token"
  chmod 600 "$DIR/shared.token"
  for ((i = 1; i <= HOSTS; i++)); do
    cp -p "$DIR/shared.token" "$DIR/edge$i.token"
    write_agent_config "edge$i" "$CP_A" "$CACHE_URL"
    run_agent "edge$i"
  done
  for ((i = 1; i <= HOSTS; i++)); do
    until_true agent_is "edge$i" live || { cat "$DIR/edge$i.err" "$DIR/nginx/error.log" >&2; teardown_nginx; return 1; }
    lookup "edge$i" "$secret" "realm:$realm"
  done
  [ "$(metric realm_control_feed_snapshots_built_total)" = 1 ]
  [ "$(metric realm_control_feed_snapshot_transfers_total)" = 1 ]

  # What is cached is given to nobody without credentials, and to no other control plane.
  path=$(curl -sS -N --max-time 20 -H "Authorization: Bearer $(cat "$DIR/shared.token")" \
    "$CACHE_URL/v1/sync/feed?control_plane_id=$CP_A&host=look" | jq -r 'select(.type == "resync").path')
  [[ $path == /v1/sync/snapshots/* ]]
  fetch() { curl -sS -o "$DIR/part" -w '%{http_code}' "$@" "$CACHE_URL$path"; }
  [ "$(fetch)" = 401 ]
  [ "$(fetch -H 'Authorization: Bearer 0123456789abcdef0123456789abcdeX')" = 401 ]
  other=$(data_plane_token "$CP_B")
  [ "$(fetch -H "Authorization: Bearer $other")" = 404 ]
  auth="Authorization: Bearer $(cat "$DIR/shared.token")"
  [ "$(fetch -H "$auth")" = 200 ]
  [ "$(sha256sum <"$DIR/part" | cut -d' ' -f1)" = "${path##*/}" ]
  cp "$DIR/part" "$DIR/whole"
  [ "$(fetch -H "$auth" -H 'Range: bytes=100-' -H "If-Range: \"${path##*/}\"")" = 206 ]
  cmp "$DIR/part" <(tail -c +101 "$DIR/whole")
  [ "$(metric realm_control_feed_snapshot_transfers_total)" = 1 ]
  teardown_nginx
}

@test "the cache heals from a file that was damaged on its disk" {
  start_control
  start_cache
  realm=$(make_realm prod "$CP_A")
  secret=$(make_key "$realm" "$(make_consumer "$realm" Alice)")
  start_agent edge "$CP_A" "$CACHE_URL"
  kill_program "$AGENT_PID"
  file=$(find "$DIR/nginx/cache" -type f | head -1)
  size=$(stat -c %s "$file")
  printf 'XXXX' | dd of="$file" bs=1 seek=$((size - 6)) conv=notrunc status=none
  rm -rf "${DIR:?}/edge"
  run_agent edge
  until_true grep -q 'snapshot' "$DIR/edge.err"
  # Its digest is wrong, so it never serves; the operator empties the cache, and the agent comes by itself.
  until_true grep -Eq 'not intact|not those that it is named after|kind|frame' "$DIR/edge.err"
  run agent_is edge live
  [ "$status" != 0 ]
  find "$DIR/nginx/cache" -type f -delete
  until_true agent_is edge live
  lookup edge "$secret" "realm:$realm"
  teardown_nginx
}
