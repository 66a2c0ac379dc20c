# common.bash - real programs on random ports and in temporary folders, for the .bats files.
#
# Each test gets $DIR, which goes away with it. Started programs are stopped by teardown(), which also searches their logs,
# at level debug, and what they keep on disk for every secret that was made.

: "${BUILD:?set BUILD to the build directory, as tests/run does}"

ADMIN_TOKEN=0123456789abcdef0123456789abcdef
# shellcheck disable=SC2034 # used by the tests
CP_A=497f6eca-6276-4993-bfeb-53cbbbba6f08
# shellcheck disable=SC2034
CP_B=6c1f1d3e-0000-4000-8000-00000000000b

setup() {
  DIR=$(mktemp -d "${REALMSTORE_TEST_TMP:-${TMPDIR:-/tmp}}/e2e.XXXXXX")
  chmod 755 "$DIR"
  PIDS=()
  (umask 077 && printf '%s\n' "$ADMIN_TOKEN" >"$DIR/admin.token")
  cp "$DIR/admin.token" "$DIR/secrets"
}

teardown() { stop_all; }

# Fails when a secret stands where it must not.
stop_all() {
  local pid told=0
  for pid in "${PIDS[@]}"; do
    kill -KILL "$pid" 2>/dev/null || true
    wait "$pid" 2>/dev/null || true
  done
  secrets_are_kept || told=1
  rm -rf "$DIR"
  return $told
}

# ---- secrets ----

# remember FILE...: the secrets and tokens in these JSON texts are searched for at the end. Very short ones stand anywhere.
remember() {
  local file
  for file; do
    if grep -qE '"(secret|token)"' "$file" 2>/dev/null; then
      jq -r '.. | objects | (.secret?, .token?) | strings | select(length >= 8 and (contains("\n") | not))' \
        "$file" 2>/dev/null >>"$DIR/secrets"
    fi
  done
  return 0
}

# Logs and stores: what programs write, not what tests do. A test names what may hold secrets, and why, in TELLS_SECRETS: a
# regular expression for FILE:LINE.
TELLS_SECRETS='^$'
secrets_are_kept() {
  local found
  [ -d "$DIR" ] || return 0
  found=$(find "$DIR" -type f \( -name '*.err' -o -name '*.log' -o -name '*.out' -o -path '*/control*/*' -o -path '*/g-*/*' \
    -o -name status -o -name current \) -print0 | sort -uz | xargs -0r grep -aHF -f "$DIR/secrets" -- | grep -avE "$TELLS_SECRETS" | cut -c 1-400)
  [ -z "$found" ] && return
  echo "secrets stand in:" >&2
  head -n 20 <<<"${found//"$DIR/"/}" >&2
  return 1
}

# Tries a condition until it holds; fails, saying which, after two minutes: a machine that is ten times slower makes it,
# and so does an agent that has backed off as far as it does.
until_true() {
  local deadline=$((SECONDS + 120))
  until "$@"; do
    if ((SECONDS > deadline)); then
      echo "not within two minutes: $*" >&2
      return 1
    fi
    sleep 0.02
  done
}

# start_control [OPTION...]: sets CONTROL_PID, URL and, at the first start, PORT, which later starts use again.
start_control() {
  local log="$DIR/control.out"
  : >"$log"
  "$BUILD/bin/realm-control" --listen "127.0.0.1:${PORT:-0}" --data-dir "$DIR/control" \
    --admin-token-file "$DIR/admin.token" --heartbeat-ms 500 --log-level debug "$@" >"$log" 2>>"$DIR/control.err" 3>&- &
  CONTROL_PID=$!
  PIDS+=("$CONTROL_PID")
  until_true control_listens "$log" || { cat "$DIR/control.err" >&2; return 1; }
  URL=$(sed -nE 's/^listening on (.*)$/\1/p' "$log" | head -1)
  PORT=${URL##*:}
}

control_listens() {
  grep -q '^listening on ' "$1" || ! kill -0 "$CONTROL_PID" 2>/dev/null
}

# api METHOD PATH [BODY]: prints the answer's body, sets nothing; fails unless the status is 2xx.
api() {
  local method=$1 path=$2 body=(-H 'Content-Type: application/json') answer="$DIR/api.$BASHPID" rc=0
  [ $# -lt 3 ] || body+=(--data-binary "$3")
  curl -sS --fail-with-body --globoff -X "$method" -H "Authorization: Bearer ${TOKEN:-$ADMIN_TOKEN}" \
    -o "$answer" "${body[@]}" "$URL$path" || rc=$?
  [ ! -f "$answer" ] || cat "$answer"
  [ $# -lt 3 ] || printf '%s' "$3" >"$answer.request"
  remember "$answer" "$answer.request"
  rm -f "$answer" "$answer.request"
  return $rc
}

# api_status METHOD PATH [BODY]: prints the status alone; the body is in $DIR/body.
api_status() {
  local method=$1 path=$2 body=(-H 'Content-Type: application/json')
  [ $# -lt 3 ] || body+=(--data-binary "$3")
  curl -sS --globoff -o "$DIR/body" -w '%{http_code}' -X "$method" \
    -H "Authorization: Bearer ${TOKEN:-$ADMIN_TOKEN}" "${body[@]}" "$URL$path" || return
  remember "$DIR/body"
}

# data_plane_token CP: prints the secret of a new data-plane token.
data_plane_token() {
  api POST /v1/tokens "{\"name\":\"host-$RANDOM\",\"role\":\"data-plane\",\"control_plane_id\":\"$1\"}" |
    jq -er .token
}

# write_agent_config NAME CP [URL...]: $DIR/NAME.yaml, with a store in $DIR/NAME. A short retention time, because an
# agent that was started again waits for it before its first commit.
write_agent_config() {
  local name=$1 cp=$2
  shift 2
  [ -f "$DIR/$name.token" ] || (umask 077 && data_plane_token "$cp" >"$DIR/$name.token")
  [ $# -gt 0 ] || set -- "$URL"
  cat >"$DIR/$name.yaml" <<YAML
store_dir: $DIR/$name
control_plane_id: $cp
host_name: $name
listen: ""
retention_ms: 100
sources:
  - region: us
    urls: [$(IFS=,; echo "$*")]
    token_file: $DIR/$name.token
log: {level: debug, format: text}
YAML
}

# run_agent NAME: starts it on an existing configuration; sets AGENT_PID.
run_agent() {
  "$BUILD/bin/realm-agent" --config "$DIR/$1.yaml" 2>>"$DIR/$1.err" 3>&- &
  AGENT_PID=$!
  PIDS+=("$AGENT_PID")
}

start_agent() {
  write_agent_config "$@"
  run_agent "$1"
  until_true agent_is "$1" live || { cat "$DIR/$1.err" >&2; return 1; }
}

# agent_is NAME STATE
agent_is() {
  [ "$("$BUILD/bin/realmctl" --store "$DIR/$1" --json stat 2>/dev/null | jq -r '.sources[0].state' 2>/dev/null)" = "$2" ]
}

# current NAME: the store has the newest version of the control plane.
current() {
  local newest
  newest=$(curl -sS "$URL/metrics" | sed -nE 's/^realm_control_version ([0-9]+).*/\1/p')
  [ -n "$newest" ] && [ "$(ctl "$1" --json stat | jq -r '.sources[0].version')" = "$newest" ]
}

ctl() {
  local name=$1
  shift
  "$BUILD/bin/realmctl" --store "$DIR/$name" "$@"
}

# lookup NAME KEY [SOURCE...]: realmctl's exit code and, with --json, its answer.
lookup() {
  local name=$1 key=$2 sources=()
  shift 2
  for source in "$@"; do sources+=(--source "$source"); done
  printf '%s\n' "$key" | ctl "$name" --json lookup "${sources[@]}"
}

make_realm() { api POST /v1/realms "{\"name\":\"$1\",\"allowed_control_planes\":[\"$2\"],\"consumer_groups\":[\"gold\"]}" | jq -er .id; }
make_consumer() { api POST "/v1/realms/$1/consumers" "{\"username\":\"$2\"}" | jq -er .id; }
make_key() { api POST "/v1/realms/$1/consumers/$2/keys?wait=applied" '{"type":"new"}' | jq -er .secret; }

stop_program() {
  kill -TERM "$1"
  wait "$1"
}

kill_program() {
  kill -KILL "$1"
  wait "$1" 2>/dev/null || true
}

# start_proxy: a fault proxy (tests/lib/fault_proxy.h) in front of the control plane; sets PROXY_URL.
start_proxy() {
  mkfifo "$DIR/proxy.in"
  "$BUILD/tests/fault_proxy" "$PORT" <"$DIR/proxy.in" >"$DIR/proxy.out" 3>&- &
  PIDS+=("$!")
  exec {PROXY_FD}>"$DIR/proxy.in"
  PROXY_SAID=1
  until_true proxy_says 1
  # shellcheck disable=SC2034 # used by the tests
  PROXY_URL=$(sed -nE 's/^listening on (.*)$/\1/p' "$DIR/proxy.out")
}

proxy_says() { [ "$(wc -l <"$DIR/proxy.out")" -ge "$1" ]; }

# fault COMMAND: as fault_proxy_command() has them, or "hits"; sets PROXY_ANSWER. Not in a subshell, which would lose count.
fault() {
  echo "$*" >&"$PROXY_FD"
  PROXY_SAID=$((PROXY_SAID + 1))
  until_true proxy_says "$PROXY_SAID" || return
  PROXY_ANSWER=$(sed -n "${PROXY_SAID}p" "$DIR/proxy.out")
  [ "$PROXY_ANSWER" != no ]
}

# A request met the fault that was set last.
fault_hit() { fault hits && [ "$PROXY_ANSWER" != 'ok 0' ]; }

# ask NAME KEY SOURCE...: the agent's on-demand socket; prints the answer, fails unless the status is 200. A source is
# realm:ID, realm:REGION:ID, cp or cp:REGION.
ask() {
  local name=$1 key=$2
  shift 2
  curl -sS --fail-with-body --unix-socket "$DIR/$name/ask.sock" -H 'Content-Type: application/json' \
    --data-binary "$(ask_body "$key" "$@")" http://agent/v1/auth
}

ask_body() {
  local key=$1
  shift
  jq -cn --arg key "$key" '{secret: $key, sources: [$ARGS.positional[] | split(":") |
    {type: .[0]} + (if .[0] == "realm" then {id: .[-1]} else {} end) +
    (if length == 3 or (.[0] == "cp" and length == 2) then {region: .[1]} else {} end)]}' --args "$@"
}

# ask_status NAME KEY SOURCE...: the status alone; the body is in $DIR/body.
ask_status() {
  local name=$1 key=$2
  shift 2
  curl -sS -o "$DIR/body" -w '%{http_code}' --unix-socket "$DIR/$name/ask.sock" \
    --data-binary "$(ask_body "$key" "$@")" http://agent/v1/auth
}
