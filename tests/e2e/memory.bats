#!/usr/bin/env bats
# What is left in the daemons' memory when a request is done: no secret that it was about.
#
# Read as root through /proc/PID/mem. A secret may stand in the kernel's socket buffers, in registers, and in what an idle
# connection keeps; so connections are closed before the look, and other requests follow.
# shellcheck disable=SC2030,SC2031,SC2034,SC2154 # the helpers read and set variables

bats_require_minimum_version 1.5.0
load common

# occurrences PID: how often the text on standard input stands in the process's writable memory.
occurrences() {
  python3 -c '
import sys
pid, text, count = sys.argv[1], sys.stdin.buffer.read().strip(), 0
with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", 0) as mem:
    for line in maps:
        parts = line.split()
        if "w" not in parts[1] or (len(parts) > 5 and parts[5].startswith("/")):
            continue
        start, end = (int(x, 16) for x in parts[0].split("-"))
        while start < end:
            size = min(end - start, 1 << 24)
            try:
                mem.seek(start)
                piece = mem.read(size)
            except (OSError, ValueError, OverflowError):
                break
            count += piece.count(text)
            start += size
print(count)' "$1"
}

# is_in_memory PID TEXT
is_in_memory() { [ "$(occurrences "$1" <<<"$2")" -gt 0 ]; }
is_not_in_memory() { [ "$(occurrences "$1" <<<"$2")" = 0 ]; }

only_root() {
  [ "$(id -u)" = 0 ] || skip 'needs root to read the memory of another process'
  # Their allocator keeps what was freed, and their shadow is terabytes to read.
  [ -z "${REALMSTORE_SANITIZED:-}" ] || skip 'sanitizers keep freed memory'
}

# After the requests that matter: others, of the same kind and length, so that what is reused was used.
other_requests() {
  local i
  for i in {1..8}; do
    api_status GET "/v1/realms/$CP_A" >/dev/null
    api_status POST "/v1/realms/$realm/auth" '{"secret":"another-secret-that-nobody-has-0123456789"}' >/dev/null
  done
}

@test "the memory of the daemons can be read, so that the others of this file mean something" {
  only_root
  start_control
  start_agent edge "$CP_A"
  is_in_memory "$AGENT_PID" "$(cat "$DIR/edge.token")"
  is_in_memory "$CONTROL_PID" "$DIR/control"
}

@test "a control plane forgets the tokens and keys of requests that are done" {
  only_root
  start_control
  realm=$(make_realm prod "$CP_A")
  consumer=$(make_consumer "$realm" Alice)
  legacy=given-by-a-caller-$RANDOM$RANDOM$RANDOM
  api POST "/v1/realms/$realm/consumers/$consumer/keys" "{\"type\":\"legacy\",\"secret\":\"$legacy\"}" >/dev/null
  made=$(make_key "$realm" "$consumer")
  asked=asked-for-and-unknown-$RANDOM$RANDOM$RANDOM
  [ "$(api_status POST "/v1/realms/$realm/auth" "{\"secret\":\"$asked\"}")" = 404 ]
  token=$(data_plane_token "$CP_A")
  TOKEN=$token api_status POST /v1/sync/auth "{\"control_plane_id\":\"$CP_A\",\"realm_id\":\"$realm\",\"secret\":\"$asked\"}" >/dev/null
  wrong=wrong-token-$RANDOM$RANDOM$RANDOM
  [ "$(TOKEN=$wrong api_status GET /v1/realms)" = 401 ]
  other_requests
  for secret in "$legacy" "$made" "$asked" "$token" "$wrong"; do
    until_true is_not_in_memory "$CONTROL_PID" "$secret"
  done
}

@test "an agent forgets the keys that it was asked about" {
  only_root
  start_control
  realm=$(make_realm prod "$CP_A")
  start_agent edge "$CP_A"
  known=$(make_key "$realm" "$(make_consumer "$realm" Alice)")
  until_true current edge
  for asked in "$known" nobodys-key-$RANDOM$RANDOM$RANDOM; do
    jq -nc --arg secret "$asked" --arg id "$realm" '{secret: $secret, sources: [{type: "realm", region: "us", id: $id}, {type: "cp"}]}' |
      curl -sS --unix-socket "$DIR/edge/ask.sock" --data-binary @- http://agent/v1/auth >/dev/null
    curl -sS --unix-socket "$DIR/edge/ask.sock" -d '{"secret":"another-secret-that-nobody-has-0123456789","sources":[{"type":"cp"}]}' \
      http://agent/v1/auth >/dev/null
    until_true is_not_in_memory "$AGENT_PID" "$asked"
  done
}

@test "no process of the same user may look into a daemon, and a debugger may be let in" {
  only_root
  start_control
  write_agent_config edge "$CP_A"
  chown nobody "$DIR/edge.token"
  mkdir "$DIR/edge"
  chown nobody:nogroup "$DIR/edge"
  for dumpable in 0 1; do
    REALMSTORE_DUMPABLE=$dumpable setpriv --reuid=nobody --regid=nogroup --clear-groups \
      "$BUILD/bin/realm-agent" --config "$DIR/edge.yaml" 2>>"$DIR/edge.err" 3>&- &
    AGENT_PID=$!
    PIDS+=("$AGENT_PID")
    until_true agent_is edge live
    if [ "$dumpable" = 0 ]; then
      run ! setpriv --reuid=nobody --regid=nogroup --clear-groups head -c 1 "/proc/$AGENT_PID/environ"
      [ "$(stat -c %U "/proc/$AGENT_PID/environ")" = root ]
    else
      [ "$(stat -c %U "/proc/$AGENT_PID/environ")" = nobody ]
    fi
    stop_program "$AGENT_PID"
  done
}
