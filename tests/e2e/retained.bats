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

# attack HOW: a second user, of the reader group, does that to lock.mdb (tests/helpers/lock_attack.c) and stays until
# ATTACK_FD is closed.
attack() {
  local said="$DIR/attack.$1"
  mkfifo "$said.in"
  setpriv --reuid=nobody --regid=users --clear-groups "$BUILD/tests/lock_attack" "$1" "$DIR"/edge/us/g-*/lock.mdb \
    <"$said.in" >"$said" 2>"$said.err" 3>&- &
  PIDS+=("$!")
  exec {ATTACK_FD}>"$said.in"
  until_true grep -q '^done' "$said"
}

revoke_is_applied() {
  [ "$(api_status DELETE "/v1/realms/$ONE/consumers/$ALICE/keys/$(jq -r .id <<<"$1")?wait=applied&timeout_ms=20000")" = 204 ]
}

host_applies() { [ "$(api_status PATCH "/v1/realms/$ONE?wait=applied&timeout_ms=2000" "{\"ttl\":$((RANDOM + 5))}")" = 200 ]; }

@test "a member of the reader group who locks lock.mdb or writes over it delays no revocation and no end" {
  [ "$(id -u)" = 0 ] || skip 'needs root to become other users'
  need_namespaces
  start_control
  write_agent_config edge "$CP_A"
  sed -i '1a reader_group: users' "$DIR/edge.yaml"
  ONE=$(make_realm one "$CP_A")
  ALICE=$(make_consumer "$ONE" alice)
  for how in lock scribble; do
    run_agent edge
    until_true agent_is edge live # no host at all would be done at once
    until_true host_applies
    attack "$how"
    key=$(api POST "/v1/realms/$ONE/consumers/$ALICE/keys?wait=applied&timeout_ms=20000" '{"type":"new"}')
    container_finds "$(jq -er .secret <<<"$key")"
    revoke_is_applied "$key"
    run container_finds "$(jq -r .secret <<<"$key")"
    [ "$status" -ne 0 ]
    stop_program "$AGENT_PID"

    # The next one, while the first user is still at it.
    run_agent edge
    until_true agent_is edge live # no host at all would be done at once
    until_true host_applies
    key=$(api POST "/v1/realms/$ONE/consumers/$ALICE/keys?wait=applied&timeout_ms=20000" '{"type":"new"}')
    revoke_is_applied "$key"
    stop_program "$AGENT_PID"
    exec {ATTACK_FD}>&-
  done
}
