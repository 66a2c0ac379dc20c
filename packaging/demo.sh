#!/usr/bin/env bash
# The whole path on loopback, as an operator walks it: control plane, agent, store, NGINX, revocation.
# Every step is checked; exit 0 only if each did what it says. Everything lives in a temporary folder.
#
#   packaging/demo.sh BUILD_DIR
set -euo pipefail

build=$(cd "${1:?usage: packaging/demo.sh BUILD_DIR}" && pwd)
bin=$build/bin
PATH=$PATH:/usr/sbin # where Debian has nginx
dir=$(mktemp -d "${TMPDIR:-/tmp}/realmstore-demo.XXXXXX")
control_pid='' agent_pid='' nginx_pid=''
control_plane=497f6eca-6276-4993-bfeb-53cbbbba6f08

finish() {
  local status=$?
  trap - EXIT
  [ -z "$nginx_pid" ] || kill "$nginx_pid" 2>/dev/null || true
  [ -z "$agent_pid" ] || kill "$agent_pid" 2>/dev/null || true
  [ -z "$control_pid" ] || kill "$control_pid" 2>/dev/null || true
  wait
  if [ "$status" != 0 ]; then
    echo "demo: FAILED; the daemons' last words:" >&2
    tail -n 5 "$dir"/*.log >&2 || true
  fi
  rm -rf "$dir"
  exit "$status"
}
trap finish EXIT

bold='' plain=''
if [ -t 1 ]; then bold=$'\e[1m' plain=$'\e[0m'; fi
step() { printf '\n%s%s%s\n' "$bold" "$*" "$plain"; }
fail() {
  echo "demo: $*" >&2
  exit 1
}

# until_true COMMAND...: the daemons need a moment; no step may need more than 10 s.
until_true() {
  local deadline=$((SECONDS + 10))
  until "$@" 2>/dev/null; do
    ((SECONDS < deadline)) || fail "not within 10 s: $*"
    sleep 0.02
  done
}

# api METHOD PATH [BODY]
api() {
  local body=()
  [ $# -lt 3 ] || body=(-H 'Content-Type: application/json' -d "$3")
  echo "\$ curl -X $1 \$URL$2${3:+ -d '$3'}" >&2
  curl -sS --fail-with-body --globoff -X "$1" -H @"$dir/admin.header" "${body[@]}" "$url$2"
}

realmctl() {
  echo "\$ realmctl $*" >&2
  "$bin/realmctl" --store "$dir/store" "$@"
}

# refused KEY: realmctl must say "not found" (exit code 1), not fail to tell (2).
refused() {
  local status=0
  printf '%s\n' "$1" | realmctl lookup --source "realm:$realm_id" || status=$?
  [ "$status" = 1 ] || fail "$2 (realmctl ended with $status)"
}

# start_nginx: sets nginx_pid and gateway. A port is tried until one is free; NGINX cannot be asked to pick.
start_nginx() {
  local port
  for _ in 1 2 3 4 5; do
    port=$((RANDOM % 20000 + 12000))
    cat >"$dir/nginx.conf" <<CONF
load_module $build/nginx/ngx_http_realm_auth_module.so;
user $(id -un) $(id -gn);
pid $dir/nginx.pid;
events {}
http {
    access_log off;
    client_body_temp_path $dir/temp-body;
    proxy_temp_path $dir/temp-proxy;
    fastcgi_temp_path $dir/temp-fastcgi;
    uwsgi_temp_path $dir/temp-uwsgi;
    scgi_temp_path $dir/temp-scgi;
    realm_store $dir/store;
    server {
        listen 127.0.0.1:$port;
        location / {
            realm_auth          on;
            realm_auth_identity realm:us:$realm_id;
            proxy_pass          http://unix:$dir/upstream.sock;
        }
    }
    server { # in place of a service
        listen unix:$dir/upstream.sock;
        return 200 "hello, $1 of $2\n";
    }
}
CONF
    rm -f "$dir/upstream.sock"
    nginx -p "$dir/" -c "$dir/nginx.conf" -e "$dir/nginx.log" -g 'daemon off;' &
    nginx_pid=$!
    gateway=http://127.0.0.1:$port
    until nginx_answers; do
      kill -0 "$nginx_pid" 2>/dev/null || break
      sleep 0.02
    done
    ! kill -0 "$nginx_pid" 2>/dev/null || return 0
  done
  fail 'NGINX does not start'
}
nginx_answers() { [ -s "$dir/nginx.pid" ] && curl -sS -o /dev/null "$gateway" 2>/dev/null; }

# gateway_answers CODE [CURL_OPTION...]: shows the answer, and checks its status.
gateway_answers() {
  local wanted=$1 status
  shift
  status=$(curl -sS -o "$dir/answer" -w '%{http_code}' "$@" "$gateway/appointments")
  printf '%s %s\n' "$status" "$(cat "$dir/answer")"
  [ "$status" = "$wanted" ] || fail "NGINX answered $status, not $wanted"
}

step '1. A control plane on its embedded store'
(
  umask 077
  head -c 24 /dev/urandom | base64 >"$dir/admin.token"
  sed 's/^/Authorization: Bearer /' "$dir/admin.token" >"$dir/admin.header"
)
"$bin/realm-control" --listen 127.0.0.1:0 --data-dir "$dir/control" \
  --admin-token-file "$dir/admin.token" >"$dir/control.out" 2>"$dir/control.log" &
control_pid=$!
until_true grep -q '^listening on' "$dir/control.out"
cat "$dir/control.out"
url=$(sed -nE 's/^listening on //p' "$dir/control.out")

step '2. The operator makes a realm for one control plane, and a token for its hosts'
realm=$(api POST /v1/realms "{\"name\":\"prod\",\"allowed_control_planes\":[\"$control_plane\"],\"ttl\":10,\"negative_ttl\":10,\"consumer_groups\":[\"gold\"]}")
jq . <<<"$realm"
realm_id=$(jq -er .id <<<"$realm")
(umask 077 && api POST /v1/tokens "{\"name\":\"edge-7\",\"role\":\"data-plane\",\"control_plane_id\":\"$control_plane\"}" |
  jq -er .token >"$dir/edge-7.token")

step '3. An agent on a data-plane host copies what its control plane may see'
cat >"$dir/agent.yaml" <<YAML
store_dir: $dir/store
control_plane_id: $control_plane
host_name: edge-7
listen: ""
sources:
  - region: us
    urls: ["$url"]
    token_file: $dir/edge-7.token
log: {level: info, format: text}
YAML
cat "$dir/agent.yaml"
"$bin/realm-agent" --config "$dir/agent.yaml" 2>"$dir/agent.log" &
agent_pid=$!
live() { [ "$("$bin/realmctl" --store "$dir/store" --json stat | jq -r '.sources[0].state')" = live ]; }
until_true live

step '4. A consumer and a key; ?wait=applied answers once every host has them'
consumer=$(api POST "/v1/realms/$realm_id/consumers" '{"username":"Alice","consumer_groups":["gold","beta"]}')
jq . <<<"$consumer"
consumer_id=$(jq -er .id <<<"$consumer")
key=$(api POST "/v1/realms/$realm_id/consumers/$consumer_id/keys?wait=applied" '{"type":"new"}')
jq '.secret |= (.[:8] + "... (shown once)")' <<<"$key"

step '5. On the host: what the store holds'
realmctl stat
realmctl dump --format table

step '6. On the host: the key is a consumer, without the network'
answer=$(jq -er .secret <<<"$key" | realmctl --json lookup --source "realm:$realm_id")
jq . <<<"$answer"
[ "$(jq -r .username <<<"$answer")" = Alice ] || fail 'the key did not turn into Alice'
refused no-such-key 'an unknown key was not refused'

step '7. In front of a service: NGINX lets the key in, with its consumer, and nobody else'
# shellcheck disable=SC2016 # NGINX's variables
start_nginx '$http_x_consumer_username' '$http_x_consumer_groups'
(umask 077 && printf 'apikey: %s\n' "$(jq -er .secret <<<"$key")" >"$dir/key.header")
echo "\$ curl -H 'apikey: ...' $gateway/appointments" >&2
gateway_answers 200 -H @"$dir/key.header"
grep -q '^hello, Alice of gold, beta$' "$dir/answer" || fail 'the service did not see Alice and her groups'
echo "\$ curl $gateway/appointments" >&2
gateway_answers 401
gateway_answers 401 -H 'apikey: no-such-key'

step '8. The control plane goes away; lookups do not notice'
kill -STOP "$control_pid"
jq -er .secret <<<"$key" | realmctl lookup --source "realm:$realm_id" || fail 'no lookup without the control plane'
gateway_answers 200 -H @"$dir/key.header"
kill -CONT "$control_pid"

step '9. The operator deletes the key; once the answer is here, no host takes it any more'
api DELETE "/v1/realms/$realm_id/consumers/$consumer_id/keys/$(jq -er .id <<<"$key")?wait=applied"
refused "$(jq -er .secret <<<"$key")" 'the deleted key was not refused'
gateway_answers 401 -H @"$dir/key.header"
realmctl verify

step '10. Stopping in order'
kill "$nginx_pid"
wait "$nginx_pid" || fail "NGINX ended with exit code $?"
nginx_pid=''
kill "$agent_pid"
wait "$agent_pid" || fail "the agent ended with exit code $?"
agent_pid=''
kill "$control_pid"
wait "$control_pid" || fail "the control plane ended with exit code $?"
control_pid=''
printf '\ndemo: every step did what it says\n'
