#!/usr/bin/env bats
# Readers without slots, as containers have them: a read-only bind mount, another PID namespace, another user.

load common

# in_container NAME COMMAND...: with the store mounted read-only, in mount and PID namespaces of its own.
in_container() {
  local name=$1
  shift
  # shellcheck disable=SC2016 # expanded inside
  unshare --mount --pid --fork --mount-proc sh -c '
    mount --bind "$1" "$1" && mount -o remount,bind,ro "$1" && shift && exec "$@"' sh "$DIR/$name" "$@"
}

setup_people() {
  start_control
  start_agent edge "$CP_A"
  ONE=$(make_realm one "$CP_A")
  ALICE=$(make_consumer "$ONE" alice)
  SECRET=$(make_key "$ONE" "$ALICE")
}

need_namespaces() {
  unshare --mount --pid --fork --mount-proc true 2>/dev/null || skip 'namespaces are not permitted here'
}

container_finds() {
  printf '%s\n' "$1" | in_container edge "$BUILD/bin/realmctl" --store "$DIR/edge" --json lookup | grep -q '"username":"alice"'
}

@test "a container with a read-only mount looks up, follows changes, and never writes" {
  need_namespaces
  setup_people
  container_finds "$SECRET"
  [ "$(in_container edge "$BUILD/bin/realmctl" --store "$DIR/edge" --json stat | jq -r .mode)" = retained ]
  in_container edge "$BUILD/bin/realmctl" --store "$DIR/edge" verify
  in_container edge "$BUILD/bin/realmctl" --store "$DIR/edge" dump >"$DIR/inside"
  ctl edge dump >"$DIR/outside"
  diff "$DIR/inside" "$DIR/outside"

  second=$(make_key "$ONE" "$ALICE")
  container_finds "$second"
  api DELETE "/v1/realms/$ONE/consumers/$ALICE?wait=applied"
  run container_finds "$second"
  [ "$status" -ne 0 ]
}

@test "a stopped agent's store is read in a container, a started one's again" {
  need_namespaces
  setup_people
  stop_program "$AGENT_PID"
  container_finds "$SECRET"
  run_agent edge
  until_true agent_is edge live
  second=$(make_key "$ONE" "$ALICE")
  container_finds "$second"
}

@test "without a retention time a read-only mount is refused, and says what to set" {
  need_namespaces
  start_control
  write_agent_config edge "$CP_A"
  sed -i 's/^retention_ms:.*/retention_ms: 0/' "$DIR/edge.yaml"
  run_agent edge
  until_true agent_is edge live
  run in_container edge "$BUILD/bin/realmctl" --store "$DIR/edge" stat
  [ "$status" = 2 ]
  [[ $output == *read-only* && $output == *retention_ms* ]]
}

@test "the agent's metrics tell what it retains" {
  start_control
  write_agent_config edge "$CP_A"
  sed -i 's/^listen:.*/listen: 127.0.0.1:0/; s/format: text/format: json/' "$DIR/edge.yaml"
  run_agent edge
  until_true agent_is edge live
  port=$(sed -nE 's/.*status on [^ ]+ \(port ([0-9]+)\).*/\1/p' "$DIR/edge.err" | head -1)
  curl -sS "http://127.0.0.1:$port/metrics" >"$DIR/metrics"
  grep -q '^realm_agent_retained_transactions{region="us"} ' "$DIR/metrics"
  grep -q '^realm_agent_retained_age_seconds{region="us"} ' "$DIR/metrics"
}
