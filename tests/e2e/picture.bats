#!/usr/bin/env bats
# The whole picture: one control plane process, two realms, and three gateways whose configurations never change.
# shellcheck disable=SC2034,SC2154 # the helpers read and set variables

load nginx_common
# shellcheck source=packaging/diagram.bash
source "$BATS_TEST_DIRNAME/../../packaging/diagram.bash"

# Each gateway has an agent with a store of its own ($DIR/NAME) and an NGINX ($DIR/gateway-NAME).
start_picture() {
  declare -gA ADDRESS
  local name
  start_control
  make_realms
  for name in "${GATEWAYS[@]}"; do start_agent "$name" "${CONTROL_PLANE[$name]}"; done
  make_people
  for name in "${GATEWAYS[@]}"; do
    mkdir "$DIR/gateway-$name"
    in_folder "$DIR/gateway-$name" start_gateway_of "$name" "$DIR/$name"
    ADDRESS[$name]=$WEB
  done
  fingerprint >"$DIR/before"
}

# in_folder FOLDER COMMAND...: for what keeps its files in $DIR.
in_folder() {
  local DIR=$1
  shift
  "$@"
}

# start_gateway_of NAME STORE
start_gateway_of() { NGINX_CONFIG=write_gateway_config start_nginx "$@"; }
write_gateway_config() { gateway_config "$1" "$NGINX_PORT" "$2" "$DIR" "$BUILD" >"$DIR/nginx.conf"; }

# What must not change while people come and go: the files that were pushed to the gateways, and the running processes.
fingerprint() {
  local name
  for name in "${GATEWAYS[@]}"; do
    sha256sum "$DIR/gateway-$name/nginx.conf"
    pgrep -P "$(cat "$DIR/gateway-$name/nginx.pid")"
  done
}
untouched() { diff "$DIR/before" <(fingerprint) >&2; }

# lets_in STATUS NAME GATEWAY
lets_in() {
  WEB=${ADDRESS[$3]} expect "$1" -H "apikey: ${KEY[$2]}" "/$3"
  [ "$1" != 200 ] || [ "$(cat "$DIR/answer")" = "$3 says hello to $2" ]
}

# start_policies: one more NGINX over the store of Appointments, with a location for each policy about stale answers.
start_policies() {
  mkdir "$DIR/policies"
  ln -s ../appointments "$DIR/policies/edge"
  in_folder "$DIR/policies" start_nginx "realm_auth on; realm_auth_identity realm:us:$PROD;
    location /serve/ { realm_auth_on_stale serve; alias $DIR/policies/files/; }
    location /deny/ { realm_auth_on_stale deny; alias $DIR/policies/files/; }
    location /ask/ { realm_auth_on_stale ask; alias $DIR/policies/files/; }"
  POLICIES=$WEB
}

# with_policy STATUS POLICY NAME; policies_logged: what that NGINX logged of it.
with_policy() { WEB=$POLICIES expect "$1" -H "apikey: ${KEY[$3]}" "/$2/page"; }
policies_logged() { in_folder "$DIR/policies" logged; }

# names NAME: the realms in a gateway's store; people NAME: who is in it.
names() { ctl "$1" dump | jq -r 'select(.kind == "realm") | .name' | sort | paste -sd' '; }
people() { ctl "$1" dump | jq -r 'select(.kind == "consumer") | .username' | sort | paste -sd' '; }

@test "who comes in where, and no store holds what its control plane may not use" {
  start_picture
  lets_in 200 Cruz appointments
  lets_in 200 Ira appointments
  lets_in 401 Sasha appointments
  lets_in 401 Izumi appointments
  lets_in 200 Cruz billing
  lets_in 403 Ira billing
  lets_in 401 Sasha billing
  lets_in 401 Izumi billing
  lets_in 401 Cruz dev
  lets_in 401 Ira dev
  lets_in 200 Sasha dev
  lets_in 200 Izumi dev
  for name in "${GATEWAYS[@]}"; do
    WEB=${ADDRESS[$name]} expect 401 "/$name"
    WEB=${ADDRESS[$name]} expect 401 -H 'apikey: wrong' "/$name"
  done

  [ "$(names appointments)" = prod ]
  [ "$(names billing)" = prod ]
  [ "$(names dev)" = dev ]
  [ "$(people appointments)" = 'Cruz Ira' ]
  [ "$(people billing)" = 'Cruz Ira' ]
  [ "$(people dev)" = 'Izumi Sasha' ]

  for name in Cruz Ira Sasha Izumi; do not_in_configurations "$name" "${ID[$name]}" "${KEY[$name]}"; done
}

not_in_configurations() { ! grep -iF "$(printf '%s\n' "$@")" "$DIR"/gateway-*/nginx.conf >&2; }

@test "gold is 1000 requests a minute at Appointments, silver 10 at Billing, for each consumer" {
  start_picture
  # What was not used comes back, 17 a second: more than the limit passes, and all that is sent faster does not.
  statuses 3000 -H "apikey: ${KEY[Cruz]}" "${ADDRESS[appointments]}/appointments" >"$DIR/gold"
  cat "$DIR/gold"
  [ "$(sed -n 's/ 200$//p' "$DIR/gold")" -ge 1000 ]
  grep -q ' 429$' "$DIR/gold"
  [ "$(wc -l <"$DIR/gold")" = 2 ]
  lets_in 200 Ira appointments

  statuses 40 -H "apikey: ${KEY[Cruz]}" "${ADDRESS[billing]}/billing" >"$DIR/silver"
  cat "$DIR/silver"
  [ "$(sed -n 's/ 200$//p' "$DIR/silver")" -ge 10 ]
  grep -q ' 429$' "$DIR/silver"
  [ "$(wc -l <"$DIR/silver")" = 2 ]

  # Dev has no limit, for whoever is in gold and for whoever is in no group.
  for name in Sasha Izumi; do
    [ "$(statuses 1500 -H "apikey: ${KEY[$name]}" "${ADDRESS[dev]}/dev")" = '1500 200' ]
  done
}

@test "people move, gain a group, lose a realm and a key, and no gateway is touched" {
  start_picture
  api POST "/v1/realms/$DEV/consumers/${ID[Sasha]}/move?wait=applied" "{\"target_realm_id\":\"$PROD\"}"
  lets_in 401 Sasha dev
  lets_in 200 Sasha appointments
  lets_in 403 Sasha billing
  [ "$(people dev)" = Izumi ]
  [ "$(people appointments)" = 'Cruz Ira Sasha' ]

  lets_in 403 Ira billing
  api PATCH "/v1/realms/$PROD/consumers/${ID[Ira]}?wait=applied" '{"consumer_groups":["gold","silver"]}'
  lets_in 200 Ira billing

  api PATCH "/v1/realms/$PROD?wait=applied" "{\"allowed_control_planes\":[\"${CONTROL_PLANE[appointments]}\"]}"
  lets_in 401 Ira billing
  lets_in 401 Cruz billing
  lets_in 200 Ira appointments
  [ -z "$(names billing)$(people billing)" ]
  api PATCH "/v1/realms/$PROD?wait=applied" "{\"allowed_control_planes\":[\"${CONTROL_PLANE[appointments]}\",\"${CONTROL_PLANE[billing]}\"]}"
  lets_in 200 Ira billing

  api DELETE "/v1/realms/$PROD/consumers/${ID[Cruz]}/keys/${KEY_ID[Cruz]}?wait=applied"
  lets_in 401 Cruz appointments
  lets_in 401 Cruz billing
  untouched
}

@test "an outage: requests go on, then each policy does what it says, then all is current" {
  start_picture
  start_policies
  kill_program "$CONTROL_PID"
  for name in "${GATEWAYS[@]}"; do until_true agent_is "$name" disconnected; done
  lets_in 200 Cruz appointments
  lets_in 200 Cruz billing
  lets_in 200 Sasha dev
  for policy in serve deny ask; do with_policy 200 "$policy" Ira; done

  # ttl and negative_ttl of the realm are ten minutes.
  for name in "${GATEWAYS[@]}"; do "$BUILD/tests/age_store" "$DIR/$name" $((11 * 60 * 1000)); done
  lets_in 200 Cruz appointments
  with_policy 200 serve Ira
  [[ $(policies_logged) == '200|stale|'* ]]
  with_policy 401 deny Ira
  [[ $(policies_logged) == '401|stale_denied|'* ]]
  with_policy 401 ask Ira
  [[ $(policies_logged) == '401|stale_denied|'* ]]
  # Izumi is no realm's: what was pushed has no ttl.
  lets_in 200 Izumi dev

  # What changes meanwhile is there with the first heartbeat.
  start_control
  api DELETE "/v1/realms/$PROD/consumers/${ID[Cruz]}/keys/${KEY_ID[Cruz]}"
  for name in "${GATEWAYS[@]}"; do until_true agent_is "$name" live; done
  for name in appointments billing; do until_true current "$name"; done
  lets_in 401 Cruz appointments
  lets_in 401 Cruz billing
  lets_in 200 Sasha dev
  for policy in serve deny ask; do
    with_policy 200 "$policy" Ira
    [[ $(policies_logged) == '200|found|'* ]]
  done
  untouched
}
