#!/usr/bin/env bats
# A disk under the agent that fails: what the control plane is told, what lookups say, what comes after.

load common

# The agent on a disk whose sector with LMDB's meta pages is bad while $DIR/bad exists (tests/interpose/bad_head.c).
run_on_bad_disk() {
  LD_PRELOAD="$BUILD/tests/bad_head.so" BAD_HEAD="$DIR/bad" STUCK="$DIR/stuck" ASAN_OPTIONS=verify_asan_link_order=0 \
    "$BUILD/bin/realm-agent" --config "$DIR/edge.yaml" 2>>"$DIR/edge.err" 3>&- &
  AGENT_PID=$!
  PIDS+=("$AGENT_PID")
}

start_on_bad_disk() {
  start_control
  write_agent_config edge "$CP_A"
  run_on_bad_disk
  until_true agent_is edge live
  realm=$(make_realm prod "$CP_A")
  consumer=$(make_consumer "$realm" Alice)
  key=$(api POST "/v1/realms/$realm/consumers/$consumer/keys?wait=applied" '{"type":"new"}')
  secret=$(jq -er .secret <<<"$key")
  lookup edge "$secret" "realm:$realm"
  until_true current edge
  before=$(applied)
  : >"$DIR/bad"
}

is_revoked() {
  local code=0
  lookup edge "$secret" "realm:$realm" >/dev/null || code=$?
  [ "$code" -eq 1 ]
}

# Of the host, which may be between two connections.
applied() { api GET /v1/hosts | jq -r '[.data[].applied_version, 0] | max'; }

is_applied() { [ "$(api_status PATCH "/v1/realms/$realm?wait=applied&timeout_ms=2000" "{\"ttl\":$((RANDOM + 5))}")" = 200 ]; }

# failures N: so many syncs have failed.
failures() { [ "$(wc -c <"$DIR/bad")" -ge "$1" ]; }

revoke() { api_status DELETE "/v1/realms/$realm/consumers/$consumer/keys/$(jq -r .id <<<"$key")?wait=applied&timeout_ms=$1"; }

@test "a revocation that the disk does not take is seen by lookups, and never counted as applied" {
  start_on_bad_disk
  [ "$(revoke 1500)" = 202 ]
  jq -e '.late == ["edge"] or (.late | tostring | test("edge"))' "$DIR/body"
  until_true is_revoked
  # Through several connections, each of which presents a cursor.
  for n in 4 8 12; do
    until_true failures "$n"
    [ "$(applied)" -le "$before" ]
  done

  # The disk is well again.
  rm "$DIR/bad"
  until_true is_applied
  until_true agent_is edge live
  until_true current edge
  ctl edge verify
}

@test "what a dead agent left on such a disk is written again before the control plane hears of it" {
  start_on_bad_disk
  [ "$(revoke 300)" = 202 ]
  until_true is_revoked
  kill -KILL "$AGENT_PID"
  wait "$AGENT_PID" || true

  # It does not start on such a disk: it cannot say what a power loss would leave.
  run_on_bad_disk
  code=0
  wait "$AGENT_PID" || code=$?
  [ "$code" -eq 2 ]
  grep -q 'cannot sync' "$DIR/edge.err"
  is_revoked

  rm "$DIR/bad"
  run_on_bad_disk
  until_true agent_is edge live
  until_true current edge
}

waits_are_told() { grep -q "writer has been waiting for" "$DIR/edge.err"; }

@test "a commit that waits for its disk is told, readers are told, and SIGTERM ends the agent all the same" {
  start_on_bad_disk
  rm "$DIR/bad"
  : >"$DIR/stuck"
  [ "$(revoke 300)" = 202 ]
  until_true waits_are_told
  agent_is edge syncing
  kill -TERM "$AGENT_PID"
  code=0
  wait "$AGENT_PID" || code=$?
  [ "$code" -eq 2 ]
  grep -q "a commit has not come back" "$DIR/edge.err"

  rm "$DIR/stuck"
  run_on_bad_disk
  until_true agent_is edge live
  until_true current edge
  ctl edge verify
}

answers_at() { curl -sS -o /dev/null "http://$1/healthz" 2>/dev/null; }

@test "a status address that is taken at a reload is tried again, and the former one serves until then" {
  start_control
  write_agent_config edge "$CP_A"
  sed -i "s|^listen: .*|listen: 127.0.0.2:$((20000 + RANDOM % 10000))|" "$DIR/edge.yaml"
  former=$(sed -nE 's/^listen: //p' "$DIR/edge.yaml")
  run_agent edge
  until_true answers_at "$former"
  taken=${URL#http://}
  sed -i "s|^listen: .*|listen: $taken|" "$DIR/edge.yaml"
  kill -HUP "$AGENT_PID"
  until_true grep -q "tried again in" "$DIR/edge.err"
  answers_at "$former"
  kill -TERM "$CONTROL_PID"
  wait "$CONTROL_PID" || true
  until_true grep -q "status on $taken" "$DIR/edge.err"
  answers_at "$taken"
}
