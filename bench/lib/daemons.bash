# daemons.bash - a control plane and agents in a folder that goes away, for the scripts of bench/.
#
# Sourced with `build` set; sets dir. What is started goes into pids.
# shellcheck shell=bash disable=SC2154 # build is set by who sources this

dir=$(mktemp -d "${TMPDIR:-/tmp}/realmstore-bench.XXXXXX")
pids=()
(umask 077 && head -c 24 /dev/urandom | base64 >"$dir/admin.token")

finish() {
  local status=$?
  trap - EXIT
  [ ${#pids[@]} = 0 ] || kill "${pids[@]}" 2>/dev/null || true
  wait
  [ "$status" = 0 ] || tail -n 5 "$dir"/*.log >&2 || true
  rm -rf "$dir"
  exit "$status"
}
trap finish EXIT

note() { [ ! -t 2 ] || printf '%s\n' "$*" >&2; }
until_true() {
  local deadline=$((SECONDS + 60))
  until "$@" 2>/dev/null; do
    ((SECONDS < deadline)) || { echo "bench: not within 60 s: $*" >&2; exit 1; }
    sleep 0.02
  done
}
api() {
  curl -sS --fail-with-body -X "$1" -H "Authorization: Bearer $(cat "$dir/admin.token")" \
    -H 'Content-Type: application/json' ${3:+-d "$3"} "$url$2"
}

# start_control DATA_DIR [OPTION...]: sets control_pid and url, and makes a token for hosts.
start_control() {
  : >"$dir/control.out"
  "$build/bin/realm-control" --listen 127.0.0.1:0 --data-dir "$1" \
    --admin-token-file "$dir/admin.token" "${@:2}" >"$dir/control.out" 2>>"$dir/control.log" &
  control_pid=$!
  pids+=("$control_pid")
  until_true grep -q '^listening on' "$dir/control.out"
  url=$(sed -nE 's/^listening on //p' "$dir/control.out")
  (umask 077 && api POST /v1/tokens '{"name":"host","role":"data-plane","control_plane_id":"497f6eca-6276-4993-bfeb-53cbbbba6f08"}' |
    jq -er .token >"$dir/host.token")
}

# agent_config NAME: $dir/NAME.yaml, for a store in $dir/NAME.
agent_config() {
  cat >"$dir/$1.yaml" <<YAML
store_dir: $dir/$1
control_plane_id: 497f6eca-6276-4993-bfeb-53cbbbba6f08
host_name: $1
listen: ""
sources:
  - region: us
    urls: ["$url"]
    token_file: $dir/host.token
log: {level: warning, format: text}
YAML
}

# of_source NAME MEMBER: what realmctl says of the store's source; live NAME.
of_source() { "$build/bin/realmctl" --store "$dir/$1" --json stat | jq -r ".sources[0].$2"; }
live() { [ "$(of_source "$1" state)" = live ]; }
