#!/usr/bin/env bats
# The whole path with real programs: REST, feed, agent, store, lookup.
# shellcheck disable=SC2154 # bats sets $status and $output

load common

@test "the two requests of the README work as written" {
  start_control
  run api POST /v1/realms '{"name":"prod","allowed_control_planes":["497f6eca-6276-4993-bfeb-53cbbbba6f08"],"ttl":10,"negative_ttl":10,"consumer_groups":["gold"]}'
  [ "$status" = 0 ]
  [ "$(jq -c '[.name, .allowed_control_planes, .ttl, .negative_ttl, .consumer_groups]' <<<"$output")" = \
    '["prod",["497f6eca-6276-4993-bfeb-53cbbbba6f08"],10,10,["gold"]]' ]
  realm=$(jq -er .id <<<"$output")
  run api POST "/v1/realms/$realm/consumers" '{"username":"Alice","consumer_groups":["gold"]}'
  [ "$status" = 0 ]
  [ "$(jq -c '[.username, .type, .consumer_groups]' <<<"$output")" = '["Alice","proxy",["gold"]]' ]
}

@test "a key created over REST becomes its consumer on the host, and a deleted one nobody" {
  start_control
  start_agent edge "$CP_A"
  realm=$(make_realm prod "$CP_A")
  consumer=$(api POST "/v1/realms/$realm/consumers" '{"username":"Alice","custom_id":"c-1","tags":["t"],"consumer_groups":["silver","gold"]}' | jq -er .id)
  key=$(api POST "/v1/realms/$realm/consumers/$consumer/keys?wait=applied" '{"type":"new"}')
  secret=$(jq -er .secret <<<"$key")

  run lookup edge "$secret" "realm:$realm"
  [ "$status" = 0 ]
  [ "$(jq -c '[.result,.id,.username,.custom_id,.groups,.credential_id]' <<<"$output")" = \
    "[\"found\",\"$consumer\",\"Alice\",\"c-1\",[\"gold\",\"silver\"],\"$(jq -r .id <<<"$key")\"]" ]

  api DELETE "/v1/realms/$realm/consumers/$consumer/keys/$(jq -r .id <<<"$key")?wait=applied"
  run lookup edge "$secret" "realm:$realm"
  [ "$status" = 1 ]
  ctl edge verify
}

verified_at_control() { api GET /v1/hosts | jq -e '.data[0] | .verified_version > 0 and .verified_version == .applied_version' >"$DIR/verdict"; }
verified_on_host() { ctl "$1" --json stat | jq -e '.sources[0] | .verified_version > 0 and .verified_version == .version and .verified_at != null' >"$DIR/verdict"; }

@test "host and control plane both tell up to which version what the host holds was compared and equal" {
  start_control
  start_agent edge "$CP_A"
  realm=$(make_realm prod "$CP_A")
  make_key "$realm" "$(make_consumer "$realm" Alice)"
  until_true verified_on_host edge
  until_true verified_at_control
  ctl edge stat | grep -qE "^  verified    version $(ctl edge --json stat | jq .sources[0].version), 20..-..-..T"

  # A restored backup is another epoch, of which nothing was compared before.
  stop_program "$CONTROL_PID"
  epoch=$(ctl edge --json stat | jq -r .sources[0].epoch)
  touch "$DIR/control/new-epoch"
  start_control
  until_true has_other_epoch
  until_true verified_on_host edge
  until_true verified_at_control
}
has_other_epoch() { [ "$(ctl edge --json stat | jq -r .sources[0].epoch)" != "$epoch" ]; }

@test "no secret is in the store, and none in the control plane's files" {
  start_control
  start_agent edge "$CP_A"
  realm=$(make_realm prod "$CP_A")
  secret=$(make_key "$realm" "$(make_consumer "$realm" Alice)")
  lookup edge "$secret" "realm:$realm"
  run grep -raFl -- "$secret" "$DIR/edge" "$DIR/control" "$DIR/control.err" "$DIR/edge.err"
  [ "$status" = 1 ]
}

@test "a realm appears when it is allowed, vanishes when it is disallowed, and is nowhere else" {
  start_control
  start_agent a "$CP_A"
  start_agent b "$CP_B"
  realm=$(make_realm prod "$CP_A")
  secret=$(make_key "$realm" "$(make_consumer "$realm" Alice)")
  lookup a "$secret" "realm:$realm"
  run ctl b dump
  [ -z "$output" ]

  api PATCH "/v1/realms/$realm?wait=applied" "{\"allowed_control_planes\":[\"$CP_B\"]}"
  run lookup a "$secret" "realm:$realm"
  [ "$status" = 1 ]
  run ctl a dump
  [ -z "$output" ]
  lookup b "$secret" "realm:$realm"

  api PATCH "/v1/realms/$realm?wait=applied" '{"allow_all_control_planes":true}'
  lookup a "$secret" "realm:$realm"
  lookup b "$secret" "realm:$realm"

  api DELETE "/v1/realms/$realm?force=true&wait=applied"
  run lookup b "$secret" "realm:$realm"
  [ "$status" = 1 ]
  ctl a verify
  ctl b verify
}

@test "a consumer that moves takes its keys along" {
  start_control
  start_agent edge "$CP_A"
  one=$(make_realm one "$CP_A")
  two=$(make_realm two "$CP_A")
  consumer=$(make_consumer "$one" Sasha)
  secret=$(make_key "$one" "$consumer")
  api POST "/v1/realms/$one/consumers/$consumer/move?wait=applied" "{\"target_realm_id\":\"$two\"}"
  run lookup edge "$secret" "realm:$one"
  [ "$status" = 1 ]
  lookup edge "$secret" "realm:$two"
}

@test "the control plane's own consumers and the realm's are found in the caller's order" {
  start_control
  start_agent edge "$CP_A"
  realm=$(make_realm prod "$CP_A")
  consumer=$(make_consumer "$realm" Alice)
  own=$(api POST "/v2/control-planes/$CP_A/core-entities/consumers" '{"username":"Izumi"}' | jq -er .id)
  api POST "/v1/realms/$realm/consumers/$consumer/keys" '{"type":"legacy","secret":"shared-key"}'
  api POST "/v2/control-planes/$CP_A/core-entities/consumers/$own/key-auth?wait=applied" '{"key":"shared-key"}'
  [ "$(lookup edge shared-key "realm:$realm" cp | jq -r .username)" = Alice ]
  [ "$(lookup edge shared-key cp "realm:$realm" | jq -r .username)" = Izumi ]
}

@test "an agent that was away resumes from its cursor without a snapshot" {
  start_control
  start_agent edge "$CP_A"
  realm=$(make_realm prod "$CP_A")
  secret=$(make_key "$realm" "$(make_consumer "$realm" Alice)")
  generation=$(ctl edge --json stat | jq '.sources[0].generation')
  stop_program "$AGENT_PID"
  later=$(make_key "$realm" "$(make_consumer "$realm" Bob)")
  run_agent edge
  until_true lookup edge "$later" "realm:$realm"
  lookup edge "$secret" "realm:$realm"
  [ "$(ctl edge --json stat | jq '.sources[0].generation')" = "$generation" ]
}

@test "the store serves while the control plane is away, also to an agent that starts meanwhile" {
  start_control
  start_agent edge "$CP_A"
  realm=$(make_realm prod "$CP_A")
  secret=$(make_key "$realm" "$(make_consumer "$realm" Alice)")
  kill_program "$CONTROL_PID"
  until_true agent_is edge disconnected
  lookup edge "$secret" "realm:$realm"
  stop_program "$AGENT_PID"
  run_agent edge
  until_true agent_is edge disconnected
  lookup edge "$secret" "realm:$realm"
  start_control
  until_true agent_is edge live
}

@test "a control plane that was replaced is noticed by its epoch, and the store becomes its copy" {
  start_control
  start_agent edge "$CP_A"
  realm=$(make_realm prod "$CP_A")
  secret=$(make_key "$realm" "$(make_consumer "$realm" Alice)")
  stop_program "$CONTROL_PID"
  mv "$DIR/control" "$DIR/control.old"
  start_control
  # The host's token went with the old control plane.
  until_true grep -q 'token' "$DIR/edge.err"
  lookup edge "$secret" "realm:$realm"
  (umask 077 && data_plane_token "$CP_A" >"$DIR/edge.token")
  other=$(make_realm prod "$CP_A")
  kill -HUP "$AGENT_PID"
  until_true grep -q 'would leave 0 of 1 consumers' "$DIR/edge.err" # the guard asks first
  kill -USR1 "$AGENT_PID"
  until_true agent_is edge live
  run lookup edge "$secret" "realm:$realm"
  [ "$status" = 1 ]
  secret=$(make_key "$other" "$(make_consumer "$other" Alice)")
  lookup edge "$secret" "realm:$other"
  ctl edge verify
}

@test "a second agent on one store is refused with exit code 2" {
  start_control
  start_agent edge "$CP_A"
  run "$BUILD/bin/realm-agent" --config "$DIR/edge.yaml"
  [ "$status" = 2 ]
  [[ $output == *"$AGENT_PID"* ]]
}

@test "a reader needs the reader group and nothing more" {
  [ "$(id -u)" = 0 ] || skip 'needs root to become other users'
  start_control
  write_agent_config edge "$CP_A"
  sed -i '1a reader_group: users' "$DIR/edge.yaml"
  run_agent edge
  until_true agent_is edge live
  realm=$(make_realm prod "$CP_A")
  secret=$(make_key "$realm" "$(make_consumer "$realm" Alice)")
  printf '%s' "$secret" |
    setpriv --reuid=nobody --regid=users --clear-groups "$BUILD/bin/realmctl" --store "$DIR/edge" lookup
  run setpriv --reuid=nobody --regid=nogroup --clear-groups "$BUILD/bin/realmctl" --store "$DIR/edge" stat
  [ "$status" = 2 ]
  [[ $output == *ermission* ]]
}
