#!/usr/bin/env bats
# The guard: a snapshot that takes too much away, unexplained, is refused until an operator accepts it.
# shellcheck disable=SC2154 # bats sets $status and $output

bats_require_minimum_version 1.5.0
load common

# Ten consumers, of which the backup in $DIR/backup knows the first $1.
make_history() {
  start_control
  realm=$(make_realm prod "$CP_A")
  for i in {1..10}; do
    secrets[i]=$(make_key "$realm" "$(make_consumer "$realm" "user-$i")")
    if ((i == $1)); then
      stop_program "$CONTROL_PID"
      cp -r "$DIR/control" "$DIR/backup"
      start_control
    fi
  done
  start_agent edge "$CP_A"
  until_true current edge
}

# The control plane goes on from the backup, as operations.md says.
restore_backup() {
  stop_program "$CONTROL_PID"
  rm -rf "$DIR/control"
  cp -r "$DIR/backup" "$DIR/control"
  touch "$DIR/control/new-epoch"
  # The host's token is as old as the backup.
  start_control
  data_plane_token "$CP_A" >"$DIR/edge.token"
  kill -HUP "$AGENT_PID"
}

host_state() {
  api GET /v1/hosts | jq -r '.data[] | select(.name == "edge").state'
}
host_is() { [ "$(host_state)" = "$1" ]; }

consumers_are() {
  [ "$(ctl edge --json stat | jq -r '.sources[0].consumers')" = "$1" ]
}

@test "a restored control plane that lost most consumers is refused, seen refusing, and accepted by a signal" {
  declare -a secrets
  make_history 3
  host_is connected
  restore_backup

  until_true host_is refusing
  consumers_are 10
  lookup edge "${secrets[10]}" "realm:$realm"
  grep -q "would leave 3 of 10 consumers of realm $realm" "$DIR/edge.err"
  transfers=$(curl -sS "$URL/metrics" | sed -nE 's/^realm_control_feed_snapshot_transfers_total //p')
  [ "$transfers" = 1 ]

  kill -USR1 "$AGENT_PID"
  until_true consumers_are 3
  until_true host_is connected
  run lookup edge "${secrets[10]}" "realm:$realm"
  [ "$status" = 1 ]
  lookup edge "${secrets[3]}" "realm:$realm"
  ctl edge verify
}

set_guard() { # PERCENT
  sed -i '/^guard_percent:/d' "$DIR/edge.yaml"
  echo "guard_percent: $1" >>"$DIR/edge.yaml"
  kill -HUP "$AGENT_PID"
}
refused_times() { [ "$(grep -c 'would leave 3 of 10 consumers .*no deletes explain' "$DIR/edge.err")" = "$1" ]; }

@test "a reload with a higher guard_percent judges the refused snapshot again" {
  declare -a secrets
  make_history 3
  restore_backup
  until_true refused_times 1

  set_guard 69 # seven of ten are 70 %
  until_true refused_times 2
  consumers_are 10
  lookup edge "${secrets[10]}" "realm:$realm"
  set_guard 70
  until_true consumers_are 3
  until_true host_is connected
}

epoch() { api GET /v1/epoch | jq -r .epoch; }
accept() { api_status POST /v1/epoch/accept "{\"epoch\":\"$1\"}"; }

@test "one request to the control plane accepts for every host, those that come later too, and for this epoch alone" {
  declare -a secrets
  make_history 3
  edge=$AGENT_PID
  start_agent second "$CP_A"
  until_true current second
  kill_program "$AGENT_PID" # away while the others are accepted for
  AGENT_PID=$edge
  former=$(epoch)
  [ "$(api GET /v1/epoch | jq -r .accepted_at)" = null ]
  restore_backup
  until_true host_is refusing

  [ "$(accept "$former")" = 409 ]
  grep -q "$(epoch)" "$DIR/body"
  host_is refusing
  [ "$(accept "$(epoch)")" = 200 ]
  [ "$(jq -r .accepted_at "$DIR/body")" != null ]
  grep -q "epoch $(epoch) is accepted for every host" "$DIR/control.err"
  until_true consumers_are 3
  until_true host_is connected
  grep -q "control plane's operator: the snapshot that was refused is accepted" "$DIR/edge.err"

  # The acceptance outlives the control plane's process, and a host that has not asked yet is not held up.
  at=$(api GET /v1/epoch | jq -r .accepted_at)
  stop_program "$CONTROL_PID"
  start_control
  [ "$(api GET /v1/epoch | jq -r .accepted_at)" = "$at" ]
  data_plane_token "$CP_A" >"$DIR/second.token"
  run_agent second
  until_true current second
  [ "$(ctl second --json stat | jq -r '.sources[0].consumers')" = 3 ]

  run ! grep 'would leave' "$DIR/second.err"

  # Another epoch is another question.
  stop_program "$CONTROL_PID"
  touch "$DIR/control/new-epoch"
  start_control
  [ "$(api GET /v1/epoch | jq -r .accepted_at)" = null ]
}

@test "a restored control plane that lost fewer than the limit is taken as it is" {
  declare -a secrets
  make_history 7
  restore_backup
  until_true consumers_are 7
  until_true host_is connected
}

@test "deleting all that there is needs nobody's consent, live or by a snapshot" {
  declare -a secrets
  make_history 3
  for consumer in $(api GET "/v1/realms/$realm/consumers?page[size]=9" | jq -r '.data[].id'); do
    api DELETE "/v1/realms/$realm/consumers/$consumer?wait=applied"
  done
  until_true consumers_are 1
  # Away while the last one goes, and back with a cursor that is too old.
  kill_program "$AGENT_PID"
  stop_program "$CONTROL_PID"
  start_control --keep-versions 1
  api DELETE "/v1/realms/$realm/consumers/$(api GET "/v1/realms/$realm/consumers" | jq -r '.data[0].id')"
  for i in {1..5}; do api PATCH "/v1/realms/$realm" "{\"ttl\":1$i}" >/dev/null; done
  run_agent edge
  until_true consumers_are 0
  ctl edge verify
}

@test "SIGUSR1 to an agent that refuses nothing does nothing" {
  start_control
  start_agent edge "$CP_A"
  kill -USR1 "$AGENT_PID"
  realm=$(make_realm prod "$CP_A")
  secret=$(make_key "$realm" "$(make_consumer "$realm" Alice)")
  lookup edge "$secret" "realm:$realm"
}
