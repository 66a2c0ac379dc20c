#!/usr/bin/env bash
# The whole path on loopback, as an operator walks it: control plane, agent, store, lookup, revocation.
# Every step is checked; exit 0 only if each did what it says. Everything lives in a temporary folder.
#
#   packaging/demo.sh BUILD_DIR
set -euo pipefail

bin=$(cd "${1:?usage: packaging/demo.sh BUILD_DIR}/bin" && pwd)
dir=$(mktemp -d "${TMPDIR:-/tmp}/realmstore-demo.XXXXXX")
control_pid='' agent_pid=''
control_plane=497f6eca-6276-4993-bfeb-53cbbbba6f08

finish() {
  local status=$?
  trap - EXIT
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

step '7. The control plane goes away; lookups do not notice'
kill -STOP "$control_pid"
jq -er .secret <<<"$key" | realmctl lookup --source "realm:$realm_id" || fail 'no lookup without the control plane'
kill -CONT "$control_pid"

step '8. The operator deletes the key; once the answer is here, no host takes it any more'
api DELETE "/v1/realms/$realm_id/consumers/$consumer_id/keys/$(jq -er .id <<<"$key")?wait=applied"
refused "$(jq -er .secret <<<"$key")" 'the deleted key was not refused'
realmctl verify

step '9. Stopping in order'
kill "$agent_pid"
wait "$agent_pid" || fail "the agent ended with exit code $?"
agent_pid=''
kill "$control_pid"
wait "$control_pid" || fail "the control plane ended with exit code $?"
control_pid=''
printf '\ndemo: every step did what it says\n'
