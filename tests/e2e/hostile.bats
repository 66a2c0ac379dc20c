#!/usr/bin/env bats
# What the programs say to wrong options, bad configuration, and files that are damaged or not theirs.
# shellcheck disable=SC2154 # bats sets $status and $output

load common

filled_store() {
  start_control
  start_agent edge "$CP_A"
  realm=$(make_realm prod "$CP_A")
  consumer=$(make_consumer "$realm" Alice)
  secret=$(make_key "$realm" "$consumer")
  data=$(echo "$DIR"/edge/us/g-*/data.mdb)
}

@test "wrong options are answered by usage, not by doing something else" {
  run "$BUILD/bin/realm-control" --no-such-option
  [ "$status" = 1 ]
  run "$BUILD/bin/realm-agent" --no-such-option
  [ "$status" = 1 ]
  run "$BUILD/bin/realm-agent"
  [ "$status" = 1 ]
  run "$BUILD/bin/realmctl" --store "$DIR" no-such-command
  [ "$status" = 2 ]
  for program in realm-control realm-agent realmctl; do
    run "$BUILD/bin/$program" --help
    [ "$status" = 0 ]
    [ "${#lines[@]}" -gt 7 ]
    run "$BUILD/bin/$program" --version
    [ "$status" = 0 ]
  done
}

@test "the control plane refuses to start without an admin token, and with one that others can read" {
  run "$BUILD/bin/realm-control" --listen 127.0.0.1:0 --data-dir "$DIR/control"
  [ "$status" = 1 ]
  [[ $output == *admin-token-file* ]]
  chmod 644 "$DIR/admin.token"
  run "$BUILD/bin/realm-control" --listen 127.0.0.1:0 --data-dir "$DIR/control" --admin-token-file "$DIR/admin.token"
  [ "$status" = 1 ]
  [[ $output == *admin.token* ]]
}

@test "a second control plane on one data directory is refused" {
  start_control
  run "$BUILD/bin/realm-control" --listen 127.0.0.1:0 --data-dir "$DIR/control" --admin-token-file "$DIR/admin.token"
  [ "$status" = 2 ]
}

@test "an unknown key in the agent's configuration is named with its line" {
  cat >"$DIR/bad.yaml" <<'YAML'
store_dir: /tmp/none
control_plane_id: 497f6eca-6276-4993-bfeb-53cbbbba6f08
colour: blue
sources: []
YAML
  run "$BUILD/bin/realm-agent" --config "$DIR/bad.yaml" --check-config
  [ "$status" = 1 ]
  [[ $output == *colour* ]]
  [[ $output == *3* ]]
}

@test "plain http to another host is refused unless the source allows it" {
  echo token >"$DIR/t" && chmod 600 "$DIR/t"
  cat >"$DIR/plain.yaml" <<YAML
store_dir: $DIR/store
control_plane_id: 497f6eca-6276-4993-bfeb-53cbbbba6f08
sources:
  - region: us
    urls: ["http://control.example:8080"]
    token_file: $DIR/t
YAML
  run "$BUILD/bin/realm-agent" --config "$DIR/plain.yaml" --check-config
  [ "$status" = 1 ]
  [[ $output == *http* ]]
  echo "    allow_plain_http: true" >>"$DIR/plain.yaml"
  run "$BUILD/bin/realm-agent" --config "$DIR/plain.yaml" --check-config
  [ "$status" = 0 ]
}

@test "realmctl says why there is nothing to read" {
  run "$BUILD/bin/realmctl" --store "$DIR/nowhere" stat
  [ "$status" = 2 ]
  [[ $output == *"$DIR/nowhere"* ]]
  mkdir "$DIR/empty"
  run "$BUILD/bin/realmctl" --store "$DIR/empty" stat
  [ "$status" = 2 ]
}

@test "a truncated store is refused by readers, and replaced by the agent" {
  filled_store
  stop_program "$AGENT_PID"
  truncate -s 8192 "$data"
  run ctl edge verify
  [ "$status" != 0 ]
  [ "$status" -lt 128 ]
  run lookup edge "$secret" "realm:$realm"
  [ "$status" = 2 ]
  run_agent edge
  until_true lookup edge "$secret" "realm:$realm"
  grep -qE 'data.mdb|damaged|truncated' "$DIR/edge.err"
}

@test "a file that is no store is refused by readers, and replaced by the agent" {
  filled_store
  stop_program "$AGENT_PID"
  head -c 65536 /dev/urandom >"$data"
  run lookup edge "$secret" "realm:$realm"
  [ "$status" = 2 ]
  run_agent edge
  until_true lookup edge "$secret" "realm:$realm"
}

@test "a directory that belongs to another control plane is refused" {
  filled_store
  stop_program "$AGENT_PID"
  sed -i "s/^control_plane_id: .*/control_plane_id: $CP_B/" "$DIR/edge.yaml"
  run "$BUILD/bin/realm-agent" --config "$DIR/edge.yaml"
  [ "$status" = 2 ]
  [[ $output == *"$CP_A"* ]]
}

@test "bad bodies change nothing and name the field" {
  start_control
  realm=$(make_realm prod "$CP_A")
  before=$(api GET /v1/realms)
  bad() { # FIELD RULE METHOD PATH BODY
    run api_status "$3" "$4" "$5"
    [ "$output" = 400 ] || { echo "$output for $5" >&2; return 1; }
    jq -e --arg field "$1" --arg rule "$2" '.invalid_parameters | any(.field == $field and .rule == $rule)' "$DIR/body" ||
      { cat "$DIR/body" >&2; return 1; }
  }
  bad name required POST /v1/realms '{}'
  bad colour unknown_property POST /v1/realms '{"name":"x","colour":"blue"}'
  bad ttl min POST /v1/realms '{"name":"x","ttl":4}' || bad ttl minimum POST /v1/realms '{"name":"x","ttl":4}'
  bad username min_length POST "/v1/realms/$realm/consumers" '{"username":""}'
  bad type enum POST "/v1/realms/$realm/consumers" '{"username":"x","type":"robot"}'
  run api_status POST /v1/realms '{"name":'
  [ "$output" = 400 ]
  run api_status POST /v1/realms '[]'
  [ "$output" = 400 ]
  run api_status POST /v1/realms "$(printf '{"name":"\xff"}')"
  [ "$output" = 400 ]
  run api_status GET /v1/realms/not-a-uuid
  [ "$output" = 400 ]
  head -c 2000000 /dev/zero | tr '\0' ' ' >"$DIR/large"
  run curl -sS -o /dev/null -w '%{http_code}' -H "Authorization: Bearer $ADMIN_TOKEN" --data-binary @"$DIR/large" "$URL/v1/realms"
  [ "$output" = 413 ]
  [ "$(api GET /v1/realms)" = "$before" ]
}
