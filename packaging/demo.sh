#!/usr/bin/env bash
# The whole picture on loopback, as an operator walks it: a control plane, two realms, three gateways with an agent, a store
# and an NGINX each, and four people (packaging/diagram.bash).
# Every step is checked; exit 0 only if each did what it says. Everything lives in a temporary folder.
#
#   packaging/demo.sh BUILD_DIR
set -euo pipefail

build=$(cd "${1:?usage: packaging/demo.sh BUILD_DIR}" && pwd)
bin=$build/bin
# shellcheck source=packaging/diagram.bash
source "$(dirname "$0")/diagram.bash"
PATH=$PATH:/usr/sbin # where Debian has nginx
dir=$(mktemp -d "${TMPDIR:-/tmp}/realmstore-demo.XXXXXX")
nginx_pids=() agent_pids=() control_pid=''
declare -A gateway

finish() {
  local status=$?
  trap - EXIT
  [ -z "$control_pid" ] || kill -CONT "$control_pid" 2>/dev/null || true # step 10 stops it for a while
  kill "${nginx_pids[@]}" "${agent_pids[@]}" ${control_pid:+"$control_pid"} 2>/dev/null || true
  wait
  if [ "$status" != 0 ]; then
    echo "demo: FAILED; the daemons' last words:" >&2
    tail -n 5 "$dir"/*.log "$dir"/*/error.log >&2 || true
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

# realmctl STORE ARGUMENT...
realmctl() {
  local store=$1
  shift
  echo "\$ realmctl --store $store $*" >&2
  "$bin/realmctl" --store "$dir/$store" "$@"
}

start_agent() { # NAME
  (umask 077 && api POST /v1/tokens "{\"name\":\"$1\",\"role\":\"data-plane\",\"control_plane_id\":\"${CONTROL_PLANE[$1]}\"}" |
    jq -er .token >"$dir/$1.token")
  cat >"$dir/$1.yaml" <<YAML
store_dir: $dir/$1
control_plane_id: ${CONTROL_PLANE[$1]}
host_name: $1
listen: ""
sources:
  - region: us
    urls: ["$url"]
    token_file: $dir/$1.token
log: {level: info, format: text}
YAML
  "$bin/realm-agent" --config "$dir/$1.yaml" 2>"$dir/$1.log" &
  agent_pids+=("$!")
}
live() { [ "$("$bin/realmctl" --store "$dir/$1" --json stat | jq -r '.sources[0].state')" = live ]; }

# start_gateway NAME. A port is tried until one is free; NGINX cannot be asked to pick.
start_gateway() {
  local files=$dir/gateway-$1 port pid
  mkdir "$files"
  for _ in 1 2 3 4 5; do
    port=$((RANDOM % 20000 + 12000))
    gateway_config "$1" "$port" "$dir/$1" "$files" "$build" >"$files/nginx.conf"
    rm -f "$files/service.sock"
    nginx -p "$files/" -c "$files/nginx.conf" -e "$files/error.log" -g 'daemon off;' &
    pid=$!
    gateway[$1]=http://127.0.0.1:$port
    until nginx_answers "$1"; do
      kill -0 "$pid" 2>/dev/null || break
      sleep 0.02
    done
    if kill -0 "$pid" 2>/dev/null; then
      nginx_pids+=("$pid")
      return 0
    fi
  done
  fail 'NGINX does not start'
}
nginx_answers() { [ -s "$dir/gateway-$1/nginx.pid" ] && curl -sS -o /dev/null "${gateway[$1]}" 2>/dev/null; }

# key_header NAME: for curl's -H @FILE; on a command line everybody on the machine could read the key.
key_header() { [ -z "${KEY[$1]}" ] || printf 'apikey: %s\n' "${KEY[$1]}"; }

# asks NAME GATEWAY STATUS: shows the answer, and checks its status.
asks() {
  local status
  status=$(curl -sS -o "$dir/answer" -w '%{http_code}' -H 'Accept: text/plain' -H @<(key_header "$1") "${gateway[$2]}/$2")
  printf '%-7s at /%-13s %s  %s\n' "$1" "$2" "$status" "$(head -n 1 "$dir/answer")"
  [ "$status" = "$3" ] || fail "$2 answered $1 with $status, not $3"
}

# counts NAME GATEWAY COUNT LIMIT: as many requests as fast as they go; at least LIMIT must pass, and not all.
counts() {
  local passed
  statuses "$3" -H @<(key_header "$1") "${gateway[$2]}/$2" >"$dir/statuses"
  passed=$(sed -n 's/ 200$//p' "$dir/statuses")
  printf '%s sends %d requests to /%s: %s\n' "$1" "$3" "$2" "$(sed -E 's/(.*) (.*)/\1 times \2/' "$dir/statuses" | paste -sd, | sed 's/,/, /')"
  { [ "$passed" -ge "$4" ] && grep -q ' 429$' "$dir/statuses"; } || fail "the limit of $4 did not hold"
}

pushed() { cat "$dir"/gateway-*/nginx.conf | sha256sum; }

diagram

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

step '2. The operator makes two realms: prod for Appointments and Billing, dev for Dev'
make_realms

step "3. Each gateway's host has an agent, which copies what its control plane may see"
for name in "${GATEWAYS[@]}"; do start_agent "$name"; done
for name in "${GATEWAYS[@]}"; do until_true live "$name"; done
cat "$dir/appointments.yaml"

step '4. Consumers and keys; ?wait=applied answers once every host has them'
make_people
api GET "/v1/realms/$PROD/consumers/${ID[Cruz]}" | jq .

step '5. On the hosts: no store holds a realm that its control plane may not use'
realmctl appointments stat
for name in "${GATEWAYS[@]}"; do realmctl "$name" dump --format table; done
if "$bin/realmctl" --store "$dir/dev" dump | grep -q "$PROD" || "$bin/realmctl" --store "$dir/billing" dump | grep -q "$DEV"; then
  fail 'a store holds a realm of others'
fi

step '6. On a host: a key is a consumer, without the network'
answer=$(printf '%s\n' "${KEY[Cruz]}" | realmctl appointments --json lookup --source "realm:$PROD")
jq . <<<"$answer"
[ "$(jq -r .username <<<"$answer")" = Cruz ] || fail 'the key did not turn into Cruz'

step '7. In front of services: NGINX lets in who may come, as whom they are, and nobody else'
for name in "${GATEWAYS[@]}"; do start_gateway "$name"; done
sed -n '/location/,/}/p' "$dir/gateway-appointments/nginx.conf"
before=$(pushed)
KEY[nobody]=''
KEY[a guess]=no-such-key
for name in nobody 'a guess'; do asks "$name" appointments 401; done
asks Cruz appointments 200
asks Cruz billing 200
asks Cruz dev 401
asks Ira appointments 200
asks Ira billing 403
asks Sasha dev 200
asks Sasha appointments 401
asks Izumi dev 200
asks Izumi billing 401

step '8. Limits follow the groups: gold is 1000 requests a minute at Appointments, silver 10 at Billing'
counts Cruz appointments 2000 999 # one went before
counts Cruz billing 40 9

step '9. The operator changes who may what; no gateway is touched'
api POST "/v1/realms/$DEV/consumers/${ID[Sasha]}/move?wait=applied" "{\"target_realm_id\":\"$PROD\"}" | jq -c .
asks Sasha dev 401
asks Sasha appointments 200
api PATCH "/v1/realms/$PROD/consumers/${ID[Ira]}?wait=applied" '{"consumer_groups":["gold","silver"]}' | jq -c .
asks Ira billing 200
api PATCH "/v1/realms/$PROD?wait=applied" "{\"allowed_control_planes\":[\"${CONTROL_PLANE[appointments]}\"]}" | jq -c .
asks Ira billing 401
asks Ira appointments 200

step '10. The control plane goes away; requests do not notice'
kill -STOP "$control_pid"
asks Ira appointments 200
asks Izumi dev 200
kill -CONT "$control_pid"

step '11. The operator deletes a key; once the answer is here, no host takes it any more'
api DELETE "/v1/realms/$PROD/consumers/${ID[Ira]}/keys/${KEY_ID[Ira]}?wait=applied"
asks Ira appointments 401
status=0
printf '%s\n' "${KEY[Ira]}" | realmctl appointments lookup --source "realm:$PROD" || status=$?
[ "$status" = 1 ] || fail "the deleted key was not refused (realmctl ended with $status)"
for name in "${GATEWAYS[@]}"; do realmctl "$name" verify; done
[ "$(pushed)" = "$before" ] || fail "a gateway's configuration changed"

step '12. Stopping in order'
for pid in "${nginx_pids[@]}" "${agent_pids[@]}" "$control_pid"; do
  kill "$pid"
  wait "$pid" || fail "process $pid ended with exit code $?"
done
nginx_pids=() agent_pids=() control_pid=''
printf '\ndemo: every step did what it says\n'
