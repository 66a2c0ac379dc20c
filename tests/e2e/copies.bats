#!/usr/bin/env bats
# Backup, diff and rollback of stores that real agents keep, and an agent whose disk is full.
# shellcheck disable=SC2154 # bats sets $status and $output

load common

filled_store() {
  start_control
  start_agent edge "$CP_A"
  realm=$(make_realm prod "$CP_A")
  alice=$(make_consumer "$realm" Alice)
  secret=$(make_key "$realm" "$alice")
}

@test "a backup is whole, private, and equal to the store it was made of" {
  filled_store
  run ctl edge --json backup "$DIR/copy"
  [ "$status" = 0 ]
  [ "$(jq -r '.sources[0].region' <<<"$output")" = us ]
  [ "$(jq -r '.sources[0].version' <<<"$output")" = "$(ctl edge --json stat | jq '.sources[0].version')" ]
  [ "$(stat -c %a "$DIR/copy" "$DIR/copy/us/data.mdb" | paste -sd' ')" = "750 640" ]
  [ "$(find "$DIR/copy" -type f | wc -l)" = 1 ] # no digest.key
  run ctl edge diff "$DIR/edge" "$DIR/copy"
  [ "$status" = 0 ]
  [ "$output" = "no differences" ]
}

@test "a backup overwrites nothing and leaves nothing behind when it fails" {
  filled_store
  mkdir "$DIR/there"
  run ctl edge backup "$DIR/there"
  [ "$status" = 2 ]
  [[ $output == *"$DIR/there"* ]]
  run ctl edge backup "$DIR/nowhere/copy"
  [ "$status" = 2 ]
  run ctl nothing backup "$DIR/copy"
  [ "$status" = 2 ]
  [ -z "$(find "$DIR" -maxdepth 1 -name 'copy*')" ]
  run ctl edge backup
  [ "$status" = 2 ]
}

@test "diff names what was added, changed and removed, and shows no digest" {
  filled_store
  bob=$(make_consumer "$realm" Bob)
  make_key "$realm" "$bob"
  ctl edge backup "$DIR/before"
  api PATCH "/v1/realms/$realm" '{"ttl":20}'
  api PATCH "/v1/realms/$realm/consumers/$alice" '{"username":"Alison","tags":["new"]}'
  api DELETE "/v1/realms/$realm/consumers/$bob"
  carol=$(make_consumer "$realm" Carol)
  make_key "$realm" "$carol"
  run ctl edge --json diff "$DIR/before" "$DIR/edge"
  [ "$status" = 1 ]
  differs() { # KIND ID HOW FIELDS
    jq -se --arg kind "$1" --arg id "$2" --arg how "$3" --argjson fields "$4" \
      'any(.kind == $kind and (.id == $id or .consumer_id == $id) and .difference == $how and .fields == $fields)' \
      <<<"$output" >/dev/null || { echo "no $*: $output" >&2; return 1; }
  }
  differs realm "$realm" changed '["ttl"]'
  differs consumer "$alice" changed '["username","tags"]'
  differs consumer "$bob" only_in_a '[]'
  differs key "$bob" only_in_a '[]'
  differs consumer "$carol" only_in_b '[]'
  differs key "$carol" only_in_b '[]'
  [ "$(jq -s length <<<"$output")" = 6 ]
  run ctl edge diff "$DIR/before" "$DIR/edge"
  [ "$status" = 1 ]
  [ "${#lines[@]}" = 6 ]
  [[ $output == *"consumer $alice (realm:$realm): differs in username, tags"* ]]
}

@test "diff cannot tell about what is no store, or one directory twice" {
  filled_store
  mkdir "$DIR/empty"
  run ctl edge diff "$DIR/edge" "$DIR/empty"
  [ "$status" = 2 ]
  [[ $output == *"B: "* ]]
  run ctl edge diff "$DIR/edge" "$DIR/edge/."
  [ "$status" = 2 ]
  run ctl edge diff "$DIR/edge"
  [ "$status" = 2 ]
}

# The control plane forgets its hosts' past: an agent that connects must take a snapshot.
lose_control_plane() {
  stop_program "$CONTROL_PID"
  mv "$DIR/control" "$DIR/control.old"
  start_control
  rm -f "$DIR/edge.token"
  (umask 077 && data_plane_token "$CP_A" >"$DIR/edge.token")
  kill -HUP "$AGENT_PID"
  until_true generation_is 2
  until_true agent_is edge live
}

generation_is() {
  [ "$(ctl edge --json stat | jq '.sources[0].generation')" = "$1" ]
}

@test "a wrong snapshot is undone by a rollback, and the feed goes on from the older cursor" {
  filled_store
  version=$(ctl edge --json stat | jq '.sources[0].version')
  lose_control_plane
  run lookup edge "$secret" "realm:$realm"
  [ "$status" = 1 ]

  run ctl edge rollback
  [ "$status" = 2 ]
  [[ $output == *"$AGENT_PID"* && $output == *"systemctl stop"* ]]
  run lookup edge "$secret" "realm:$realm"
  [ "$status" = 1 ]

  stop_program "$AGENT_PID"
  run ctl edge rollback --region eu
  [ "$status" = 2 ]
  run ctl edge --json rollback --region us
  [ "$status" = 0 ]
  [ "$(jq .version <<<"$output")" = "$version" ]
  lookup edge "$secret" "realm:$realm"
  ctl edge verify

  # The right control plane is back, and knows the older cursor: no snapshot, only what came since.
  stop_program "$CONTROL_PID"
  mv "$DIR/control" "$DIR/control.new"
  mv "$DIR/control.old" "$DIR/control"
  start_control
  (umask 077 && data_plane_token "$CP_A" >"$DIR/edge.token.new") && mv "$DIR/edge.token.new" "$DIR/edge.token"
  run_agent edge
  until_true agent_is edge live
  later=$(make_key "$realm" "$alice")
  lookup edge "$later" "realm:$realm"
  lookup edge "$secret" "realm:$realm"
  generation_is 1
}

@test "a rollback without a kept generation says so and changes nothing" {
  filled_store
  stop_program "$AGENT_PID"
  run ctl edge rollback
  [ "$status" = 1 ]
  [[ $output == *"no previous generation"* ]]
  lookup edge "$secret" "realm:$realm"
}

@test "root's rollback leaves the store to its owner" {
  [ "$(id -u)" = 0 ] || skip 'needs root to become other users'
  filled_store
  lose_control_plane
  stop_program "$AGENT_PID"
  chown -R daemon:daemon "$DIR/edge"
  ASAN_OPTIONS=detect_leaks=0 ctl edge rollback # LeakSanitizer cannot look into who changed its user
  [ "$(find "$DIR/edge" ! -user daemon | wc -l)" = 0 ]
}

@test "an agent on a full disk serves on, says so, and catches up when there is room" {
  unshare -m true 2>/dev/null || skip 'needs the right to mount'
  start_control
  write_agent_config edge "$CP_A"
  mkdir "$DIR/edge"
  unshare -m --propagation private sleep 600 3>&- &
  space=$!
  PIDS+=("$space")
  inside() { nsenter -t "$space" -m "$@"; }
  until_true inside true
  until_true inside mount -t tmpfs -o size=3m none "$DIR/edge"
  inside "$BUILD/bin/realm-agent" --config "$DIR/edge.yaml" 2>>"$DIR/edge.err" 3>&- &
  PIDS+=("$!")
  inside_ctl() { inside "$BUILD/bin/realmctl" --store "$DIR/edge" "$@"; }
  is_live() { [ "$(inside_ctl --json stat 2>/dev/null | jq -r '.sources[0].state' 2>/dev/null)" = live ]; }
  until_true is_live
  realm=$(make_realm prod "$CP_A")
  alice=$(make_consumer "$realm" Alice)
  secret=$(make_key "$realm" "$alice")
  inside_found() { printf '%s' "$1" | inside_ctl lookup --source "realm:$realm"; }
  inside_found "$secret"

  inside dd if=/dev/zero of="$DIR/edge/ballast" bs=64k 2>/dev/null || true # until it is full
  "$BUILD/tests/rest_load" --url "$URL" --token-file "$DIR/admin.token" --realm "$realm" --realm "$realm" \
    --changes 300 --seed 1 --parallel 4 churn >/dev/null 2>&1 3>&-
  later=$(api POST "/v1/realms/$realm/consumers/$alice/keys" '{"type":"new"}' | jq -er .secret)
  until_true grep -qE 'make room' "$DIR/edge.err"
  inside_found "$secret"
  inside rm "$DIR/edge/ballast"
  until_true inside_found "$later"
  inside_found "$secret"
  inside_ctl verify
}
