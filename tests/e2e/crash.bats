#!/usr/bin/env bats
# SIGKILL at any moment loses nothing that was acknowledged and leaves both sides equal, record by record.

load common

# What the control plane says over REST, and what the store holds, in one form.
rest_view() {
  "$BUILD/tests/rest_load" --url "$URL" --token-file "$DIR/admin.token" --realm "$ONE" --realm "$TWO" list |
    jq -cS '{realm: .realm_id, id: .consumer.id, username: .consumer.username, groups: .consumer.consumer_groups,
             keys: [.keys[].id] | sort}' | sort
}

store_view() {
  ctl "$1" dump --format ndjson |
    jq -cS 'select(.kind == "consumer") | {realm: .scope | ltrimstr("realm:"), id, username, groups: .consumer_groups,
             keys: [.keys[].id] | sort}' | sort
}

@test "20,000 changes while control plane and agent are killed again and again" {
  changes=20000
  [ -z "${REALMSTORE_SANITIZED:-}" ] || changes=4000
  seed=${SEED:-$RANDOM}
  echo "SEED=$seed"
  RANDOM=$seed
  start_control
  start_agent edge "$CP_A"
  ONE=$(make_realm one "$CP_A")
  TWO=$(make_realm two "$CP_A")

  "$BUILD/tests/rest_load" --url "$URL" --token-file "$DIR/admin.token" --realm "$ONE" --realm "$TWO" \
    --changes "$changes" --seed "$seed" --parallel 16 churn >"$DIR/churn.out" 2>&1 3>&- &
  load=$!
  PIDS+=("$load")
  kills=0
  while kill -0 "$load" 2>/dev/null; do
    sleep "$(printf 0.%02d $((RANDOM % 30 + 5)))"
    if ((RANDOM % 2)); then
      kill_program "$CONTROL_PID"
      start_control
    else
      kill_program "$AGENT_PID"
      run_agent edge
    fi
    kills=$((kills + 1))
  done
  wait "$load" || { cat "$DIR/churn.out"; false; }
  echo "kills: $kills"
  [ "$kills" -ge 5 ]

  until_true agent_is edge live
  until_true current edge
  ctl edge verify
  rest_view >"$DIR/rest"
  store_view edge >"$DIR/store"
  [ -s "$DIR/rest" ]
  diff "$DIR/rest" "$DIR/store"

  # A host that starts from a snapshot arrives at the same.
  start_agent fresh "$CP_A"
  ctl edge dump >"$DIR/edge.dump"
  ctl fresh dump >"$DIR/fresh.dump"
  diff "$DIR/edge.dump" "$DIR/fresh.dump"
}
