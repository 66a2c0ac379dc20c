#!/usr/bin/env bats
# A bad way between agent and control plane: whatever happens on it, the last good copy serves, the agent comes back by
# itself, and in the end its store equals that of an agent which had a good way, record by record.
# shellcheck disable=SC2154 # bats sets $status and $output

load common

# Without the agent `edge`.
start_ref() {
  start_control
  start_proxy
  start_agent ref "$CP_A"
  realm=$(make_realm prod "$CP_A")
  consumer=$(make_consumer "$realm" Alice)
  secret=$(make_key "$realm" "$consumer")
}

# The agent `edge` behind the fault proxy, the agent `ref` beside it, and a key that is there from the start.
start_pair() {
  start_ref
  start_agent edge "$CP_A" "$PROXY_URL"
  until_true serves
  generation=$(generation_of edge)
}

generation_of() { ctl "$1" --json stat | jq '.sources[0].generation'; }

serves() { lookup edge "$secret" "realm:$realm"; }

# A change that no agent is waited for with.
change() {
  api POST "/v1/realms/$realm/consumers/$consumer/keys" '{"type":"new"}' >"$DIR/key"
  api POST "/v1/realms/$realm/consumers" "{\"username\":\"user-$RANDOM$RANDOM\",\"tags\":[\"t\"]}" >"$DIR/consumer"
}

# Both agents have everything, and the same.
assert_equal() {
  until_true current ref
  until_true current edge
  until_true agent_is edge live
  "$BUILD/bin/realmctl" diff "$DIR/edge" "$DIR/ref"
  ctl edge verify
}

# strike FAULT: on a connection that begins under the fault, while there is a change to bring.
strike() {
  fault "$1"
  fault sever
  change
  until_true fault_hit
  serves
  fault none
}

@test "a feed that breaks off in the middle goes on from the cursor" {
  start_pair
  strike 'cut 0 /v1/sync/feed'
  strike 'reset 300 /v1/sync/feed'
  strike 'cut 700 /v1/sync/feed'
  assert_equal
  [ "$(generation_of edge)" = "$generation" ]
}

@test "a feed that stalls is dead after three heartbeats, and found again" {
  start_pair
  fault stall 0 /v1/sync/feed
  change
  until_true agent_is edge disconnected
  grep -q 'three heartbeats' "$DIR/edge.err"
  serves
  fault none
  assert_equal
  [ "$(generation_of edge)" = "$generation" ]
}

@test "a slow way is no fault: the feed and a snapshot come drop by drop" {
  start_ref
  fault drip 16 2
  start_agent edge "$CP_A" "$PROXY_URL"
  change
  assert_equal
  run grep -cE 'drips|stalls|snapshot:' "$DIR/edge.err"
  [ "$output" = 0 ]
}

@test "bytes that come twice or changed are not taken for the source's" {
  start_pair
  strike 'duplicate 500 64 /v1/sync/feed'
  strike 'corrupt 600 0 /v1/sync/feed'
  strike 'corrupt 9 0 /v1/sync/feed'
  assert_equal
}

@test "a snapshot that is cut, damaged or none is refused; then one is taken" {
  start_ref
  for i in {1..60}; do make_consumer "$realm" "user-$i" >/dev/null; done # more than comes in a few cut tries
  fault cut 520 /v1/sync/snapshot # in the body, behind some 450 bytes of head
  write_agent_config edge "$CP_A" "$PROXY_URL"
  run_agent edge
  until_true fault_hit
  until_true agent_is edge empty
  run serves
  [ "$status" = 2 ] # no "no" from half a copy
  fault corrupt 300 50 /v1/sync/snapshot # what is left of it may be short: in the head
  until_true fault_hit
  fault answer 200 /v1/sync/snapshot
  until_true fault_hit
  run serves
  [ "$status" = 2 ]
  fault none
  assert_equal
  serves
}

@test "while no snapshot of a new history can be had, the former copy serves" {
  start_pair
  stop_program "$CONTROL_PID"
  touch "$DIR/control/new-epoch"
  fault corrupt 520 0 /v1/sync/snapshot
  start_control
  until_true fault_hit
  until_true grep -q snapshot: "$DIR/edge.err"
  serves
  change
  fault none
  assert_equal
  serves
}

@test "every refusal is told with its status, and the copy serves on" {
  start_pair
  for code in 302 401 403 404 410 429 500 503; do
    stop_program "$AGENT_PID"
    fault answer "$code"
    : >"$DIR/edge.err"
    run_agent edge
    until_true grep -qE "answered .*$code" "$DIR/edge.err"
    agent_is edge disconnected
    serves
  done
  fault none
  stop_program "$AGENT_PID"
  run_agent edge
  assert_equal
}

@test "a line of a gigabyte costs the agent no memory" {
  start_pair
  strike "flood 500 $((1 << 30)) /v1/sync/feed"
  assert_equal
  [ -n "${REALMSTORE_SANITIZED:-}" ] ||
    [ "$(sed -nE 's/^VmHWM:\s+([0-9]+) kB$/\1/p' "/proc/$AGENT_PID/status")" -lt 65536 ]
}

@test "a control plane that is started again is followed on from the cursor" {
  start_pair
  for _ in 1 2; do
    kill_program "$CONTROL_PID"
    start_control
    change
    assert_equal
  done
  serves
  [ "$(generation_of edge)" = "$generation" ]
}

@test "a control plane restored from an older backup takes its hosts back with it" {
  export REALM_AGENT_GUARD_PERCENT=100 # guard.bats has what it would say
  start_pair
  change
  until_true current ref
  stop_program "$CONTROL_PID"
  cp -r "$DIR/control" "$DIR/backup"
  start_control
  lost=$(make_key "$realm" "$consumer")
  until_true lookup edge "$lost" "realm:$realm"
  change
  assert_equal

  stop_program "$CONTROL_PID" # restored as it is: the hosts are ahead of it
  rm -r "$DIR/control"
  cp -r "$DIR/backup" "$DIR/control"
  start_control
  until_true grep -q future_version "$DIR/edge.err"
  assert_equal
  serves
  run lookup edge "$lost" "realm:$realm"
  [ "$status" = 1 ]

  stop_program "$CONTROL_PID" # and restored as it should be
  rm -r "$DIR/control"
  mv "$DIR/backup" "$DIR/control"
  touch "$DIR/control/new-epoch"
  start_control
  change
  until_true grep -q unknown_epoch "$DIR/edge.err"
  assert_equal
  serves
}

@test "a control plane replaced by an empty one: what it does not know is gone, when it says so" {
  start_pair
  token=$(cat "$DIR/edge.token")
  stop_program "$CONTROL_PID"
  mv "$DIR/control" "$DIR/control.old"
  start_control
  until_true grep -q 'answered 401' "$DIR/edge.err"
  serves # it is no answer that the token is unknown
  (umask 077 && data_plane_token "$CP_A" >"$DIR/edge.token")
  [ "$(cat "$DIR/edge.token")" != "$token" ]
  kill -HUP "$AGENT_PID"
  until_true grep -q 'would leave 0 of' "$DIR/edge.err"
  serves # not because somebody started the wrong one
  kill -USR1 "$AGENT_PID"
  until_true agent_is edge live
  run serves
  [ "$status" = 1 ]
  [ -z "$(ctl edge dump)" ]
  ctl edge verify
}
