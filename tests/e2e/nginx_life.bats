#!/usr/bin/env bats
# The NGINX module through what happens to a gateway: reload, binary upgrade, a store that is not there, that is old.
# shellcheck disable=SC2034,SC2154 # the helpers read and set variables

load nginx_common

workers() { pgrep -P "$(cat "$DIR/nginx.pid")" | sort | tr '\n' ' '; }

code_is() { get "${@:2}" && [ "$status" = "$1" ]; }

workers_differ_from() { [ -n "$(workers)" ] && [ "$(workers)" != "$1" ]; }

@test "a store that is not there is a 500, not a failed start, and heals by itself" {
  start_people
  stop_program "$AGENT_PID"
  mv "$DIR/edge" "$DIR/away"
  start_nginx "location / { return 204; }
    location /a/ { realm_auth on; realm_auth_identity realm:us:$PROD; alias $DIR/files/; }"
  expect 500 -H "apikey: $SECRET" /a/page
  [ "$(message)" = 'An unexpected error occurred' ]
  [[ $(logged) == '500|error|-|'* ]]
  grep -q "realm_auth: cannot open the store: no store in $DIR/edge" "$DIR/error.log"
  expect 401 /a/page
  mv "$DIR/away" "$DIR/edge"
  until_true code_is 200 -H "apikey: $SECRET" /a/page
  grep -q 'realm_auth: the store answers again' "$DIR/error.log"
}

@test "a store without a complete copy is a 500 until the copy is there" {
  start_control
  write_agent_config edge "$CP_A"
  kill_program "$CONTROL_PID"
  run_agent edge
  until_true test -e "$DIR/edge/status"
  start_nginx "location / { return 204; }
    location /a/ { realm_auth on; alias $DIR/files/; }"
  expect 500 -H 'apikey: izumi-key' /a/page
  start_control
  own=$(api POST "/v2/control-planes/$CP_A/core-entities/consumers" '{"username":"Izumi"}' | jq -er .id)
  api POST "/v2/control-planes/$CP_A/core-entities/consumers/$own/key-auth?wait=applied" '{"key":"izumi-key"}'
  until_true code_is 200 -H 'apikey: izumi-key' /a/page
}

@test "requests are answered through a resynchronisation, and by the new copy after it" {
  start_gateway
  expect 200 -H "apikey: $SECRET" /a/x
  stop_program "$CONTROL_PID"
  touch "$DIR/control/new-epoch"
  generation=$(ctl edge --json stat | jq '.sources[0].generation')
  start_control
  switched() {
    expect 200 -H "apikey: $SECRET" /a/x && [ "$(ctl edge --json stat | jq '.sources[0].generation')" != "$generation" ]
  }
  until_true switched
  second=$(make_key "$PROD" "$ALICE")
  expect 200 -H "apikey: $second" /a/x
}

@test "reload takes the new directives, and neither old nor new workers hold a reader slot" {
  NGINX_WORKERS=3
  start_gateway
  expect 200 -H "apikey: $SECRET" /a/x
  before=$(workers)
  sed -i 's|realm_auth_identity .*|realm_auth_identity cp;|' "$DIR/nginx.conf"
  kill -HUP "$NGINX_PID"
  until_true code_is 401 -H "apikey: $SECRET" /a/x
  until_true workers_differ_from "$before"
  for pid in $before; do until_true gone "$pid"; done
  run ctl edge --json readers
  for pid in $before $(workers); do [[ $output != *"\"pid\":$pid,"* ]]; done
}

@test "several workers answer each, and no request fails while the gateway is reloaded again and again" {
  NGINX_WORKERS=4
  start_gateway
  for _ in 1 2 3; do
    before=$(workers)
    kill -HUP "$NGINX_PID"
    for _ in {1..20}; do expect 200 -H "apikey: $SECRET" /a/x; done
    until_true workers_differ_from "$before"
  done
  curl -sS --parallel --parallel-max 16 -o /dev/null -w '%{http_code}\n' -H "apikey: $SECRET" "$WEB/a/[1-200]" >"$DIR/codes"
  [ "$(sort "$DIR/codes" | uniq -c | tr -s ' ')" = ' 200 200' ]
}

@test "a binary upgrade takes the gateway over without a failed request" {
  start_gateway
  # One that was started in the foreground ignores the signal.
  kill -QUIT "$NGINX_PID"
  until_true gone "$NGINX_PID"
  (run_nginx)
  until_true test -s "$DIR/nginx.pid"
  NGINX_PID=$(cat "$DIR/nginx.pid")
  kill -USR2 "$NGINX_PID"
  until_true test -s "$DIR/nginx.pid.oldbin"
  until_true workers_differ_from ""
  for _ in {1..20}; do expect 200 -H "apikey: $SECRET" /a/x; done
  kill -QUIT "$NGINX_PID"
  until_true gone "$NGINX_PID"
  expect 200 -H "apikey: $SECRET" /a/x
  expect 401 -H "apikey: wrong" /a/x
  api DELETE "/v1/realms/$PROD/consumers/$ALICE/keys/$KEY_ID?wait=applied"
  expect 401 -H "apikey: $SECRET" /a/x
}

@test "a worker that may not write the lock file reads in retained mode" {
  [ "$(id -u)" = 0 ] || skip 'needs root to run workers as another user'
  start_control
  write_agent_config edge "$CP_A"
  sed -i '1a reader_group: users' "$DIR/edge.yaml"
  run_agent edge
  until_true agent_is edge live
  realm=$(make_realm prod "$CP_A")
  alice=$(make_consumer "$realm" Alice)
  secret=$(make_key "$realm" "$alice")
  chmod 640 "$DIR"/edge/us/g-*/lock.mdb
  NGINX_USER='nobody users'
  start_nginx "location / { return 204; }
    location /a/ { realm_auth on; realm_auth_identity realm:us:$realm; alias $DIR/files/; }"
  expect 200 -H "apikey: $secret" /a/page
  for _ in {1..10}; do
    second=$(make_key "$realm" "$alice")
    expect 200 -H "apikey: $second" /a/page
  done
  expect 401 -H "apikey: wrong" /a/page
}

@test "workers outside the reader group answer 500 and say why" {
  [ "$(id -u)" = 0 ] || skip 'needs root to run workers as another user'
  NGINX_USER='nobody nogroup'
  start_gateway
  expect 500 -H "apikey: $SECRET" /a/x
  grep -qi 'realm_auth: cannot open the store: .*permi' "$DIR/error.log"
}

@test "a stale answer is served or denied, as configured, and fresh again with the control plane" {
  start_people
  start_nginx "realm_auth on; realm_auth_identity realm:us:$PROD;
    location / { realm_auth off; return 204; }
    location /default/ { alias $DIR/files/; }
    location /serve/ { realm_auth_on_stale serve; alias $DIR/files/; }
    location /deny/ { realm_auth_on_stale deny; alias $DIR/files/; }"
  kill_program "$CONTROL_PID"
  until_true agent_is edge disconnected
  for path in default serve deny; do expect 200 -H "apikey: $SECRET" "/$path/page"; done
  [[ $(logged) == "200|found|$ALICE|"* ]]

  "$BUILD/tests/age_store" "$DIR/edge" $((11 * 60 * 1000))
  for path in default serve; do
    expect 200 -H "apikey: $SECRET" "/$path/page"
    [[ $(logged) == "200|stale|$ALICE|Alice|"* ]]
    [ "$(logged | sed 's/.*|//')" -ge $((11 * 60 * 1000)) ]
    expect 401 -H "apikey: wrong" "/$path/page"
    [[ $(logged) == '401|unknown|-|'* ]]
  done
  expect 401 -H "apikey: $SECRET" /deny/page
  [ "$(message)" = Unauthorized ]
  [[ $(logged) == '401|stale_denied|-|-|'* ]]
  expect 401 -H "apikey: wrong" /deny/page
  [[ $(logged) == '401|stale_denied|-|'* ]]

  start_control
  until_true agent_is edge live
  expect 200 -H "apikey: $SECRET" /deny/page
  [[ $(logged) == "200|found|$ALICE|"* ]]
}

check_nginx() {
  (run_nginx -t)
  local rc=$?
  cat "$DIR/nginx.err"
  : >"$DIR/nginx.err"
  return $rc
}

@test "wrong directives are refused with a reason" {
  NGINX_PORT=$(free_port)
  refused() { # TEXT LOCATIONS
    write_nginx_config "$2" "${3:-}"
    run check_nginx
    [ "$status" = 1 ] && [[ $output == *"$1"* ]] || { echo "$output" >&2; return 1; }
  }
  refused 'is none of realm:REGION:UUID' 'realm_auth_identity realm:us:not-a-uuid;'
  refused 'names 65 sources; 64 are the most' "realm_auth_identity $(printf 'cp %.0s' {1..65});"
  refused 'is no header name' 'realm_auth_key_names "a b";'
  for name in Cookie user_agent host referer x-forwarded-for content-length; do
    refused 'is a header that NGINX itself needs' "realm_auth_key_names apikey $name;"
  done
  refused 'is duplicate' 'realm_auth_key_names a; realm_auth_key_names b;'
  refused 'is duplicate' 'realm_auth_identity cp; realm_auth_identity cp;'
  refused 'is duplicate' '' 'realm_store /elsewhere;'
  refused 'cannot stand in a header' "realm_auth_realm 'a\"b';"
  refused 'invalid value' 'realm_auth_on_stale perhaps;'
  refused 'not allowed here' 'realm_store /elsewhere;'
  write_nginx_config 'realm_auth on;'
  sed -i '/^ *realm_store/d' "$DIR/nginx.conf"
  run check_nginx
  [ "$status" = 1 ]
  [[ $output == *'needs "realm_store"'* ]]
}
