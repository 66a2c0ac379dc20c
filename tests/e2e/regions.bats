#!/usr/bin/env bats
# Two regions in one store, each with a control plane of its own; and several URLs of one control plane.
# shellcheck disable=SC2154 # bats sets $status and $output

load common

# use REGION: later calls of api and its like are for this region's control plane.
use() {
  URL=${URLS[$1]:-}
  PORT=${URL##*:}
  [ -n "$PORT" ] || PORT=0
}

# start_region REGION: its control plane, at the same port at later starts.
start_region() {
  use "$1"
  : >"$DIR/$1.out" # else what a former process said could be taken for this one's
  "$BUILD/bin/realm-control" --listen "127.0.0.1:$PORT" --data-dir "$DIR/control-$1" --region "$1" \
    --admin-token-file "$DIR/admin.token" --heartbeat-ms 500 >"$DIR/$1.out" 2>>"$DIR/$1.err" 3>&- &
  PLANES[$1]=$!
  PIDS+=("${PLANES[$1]}")
  CONTROL_PID=${PLANES[$1]}
  until_true control_listens "$DIR/$1.out" || { cat "$DIR/$1.err" >&2; return 1; }
  URLS[$1]=$(sed -nE 's/^listening on (.*)$/\1/p' "$DIR/$1.out" | head -1)
  use "$1"
}

source_yaml() { # REGION URL...
  local region=$1
  shift
  printf '  - region: %s\n    urls: [%s]\n    token_file: %s\n' "$region" "$(IFS=,; echo "$*")" "$DIR/$region.token"
}

write_config() { # SOURCE-YAML...
  cat >"$DIR/edge.yaml" <<YAML
store_dir: $DIR/edge
control_plane_id: $CP_A
host_name: edge
listen: ""
retention_ms: 100
log: {level: info, format: text}
sources:
$(printf '%s\n' "$@")
YAML
}

# Both regions up, with a realm, a consumer and a key each: REALMS[region], CONSUMERS[region], KEYS[region].
start_two_regions() {
  declare -gA URLS PLANES REALMS CONSUMERS KEYS
  local region
  for region in us eu; do
    start_region "$region"
    (umask 077 && data_plane_token "$CP_A" >"$DIR/$region.token")
    REALMS[$region]=$(make_realm "realm-$region" "$CP_A")
    CONSUMERS[$region]=$(make_consumer "${REALMS[$region]}" Alice)
    KEYS[$region]=$(make_key "${REALMS[$region]}" "${CONSUMERS[$region]}")
  done
  write_config "$(source_yaml us "${URLS[us]}")" "$(source_yaml eu "${URLS[eu]}")"
  run_agent edge
  until_true region_is us live
  until_true region_is eu live
}

of_region() { ctl edge --json stat | jq -c --arg region "$1" ".sources[] | select(.region == \$region) | $2"; }
region_is() { [ "$(of_region "$1" .state 2>/dev/null)" = "\"$2\"" ]; }
region_is_at() { [ "$(of_region "$1" .version)" = "$2" ]; }
# What must stay as it is when another region is in trouble.
standing() { of_region "$1" '[.epoch, .generation, .state]'; }
connects() { grep -c "connected:.*region=\"$1\"" "$DIR/edge.err"; }

serves() { # REGION: the key made in the beginning
  lookup edge "${KEYS[$1]}" "realm:$1:${REALMS[$1]}"
}

# A change in the region arrives, and is acknowledged.
follows() {
  local key
  use "$1"
  key=$(make_key "${REALMS[$1]}" "${CONSUMERS[$1]}")
  lookup edge "$key" "realm:$1:${REALMS[$1]}"
}

# Questions of the region, one after the other, until the file $DIR/enough is there; each that fails is noted.
ask_on() {
  while [ ! -e "$DIR/enough" ]; do
    serves "$1" >/dev/null || echo failed >>"$DIR/failures"
  done 3>&-
}

begin_asking() {
  ask_on "$1" &
  ASKER=$!
  PIDS+=("$ASKER")
}

end_asking() {
  touch "$DIR/enough"
  wait "$ASKER"
  [ ! -e "$DIR/failures" ]
}

@test "each region has its own cursor, and a key of one is unknown in the other" {
  start_two_regions
  serves us
  serves eu
  run lookup edge "${KEYS[us]}" "realm:eu:${REALMS[us]}"
  [ "$status" = 1 ]
  version=$(of_region eu .version)
  follows us
  follows us
  [ "$(of_region eu .version)" = "$version" ]
  [ "$(of_region us .epoch)" != "$(of_region eu .epoch)" ]
  follows eu
}

@test "one region's outage leaves the other's lookups and changes alone" {
  start_two_regions
  before=$(standing us)
  begin_asking us
  kill_program "${PLANES[eu]}"
  until_true region_is eu disconnected
  [ "$(standing us)" = "$before" ]
  serves eu # from its last good copy
  follows us
  start_region eu
  until_true region_is eu live
  follows eu
  [ "$(standing us)" = "$before" ]
  end_asking
}

@test "one region's restored backup is copied anew, and the other's copy is not touched" {
  start_two_regions
  stop_program "${PLANES[eu]}"
  cp -r "$DIR/control-eu" "$DIR/backup"
  start_region eu
  lost=$(make_key "${REALMS[eu]}" "${CONSUMERS[eu]}")
  until_true lookup edge "$lost" "realm:eu:${REALMS[eu]}"
  before=$(standing us)
  epoch=$(of_region eu .epoch)
  begin_asking us

  stop_program "${PLANES[eu]}"
  rm -r "$DIR/control-eu"
  mv "$DIR/backup" "$DIR/control-eu"
  touch "$DIR/control-eu/new-epoch"
  start_region eu
  until_true epoch_changed eu "$epoch"
  until_true region_is eu live
  serves eu
  run lookup edge "$lost" "realm:eu:${REALMS[eu]}"
  [ "$status" = 1 ]
  [ "$(standing us)" = "$before" ]
  follows us
  follows eu
  end_asking
  ctl edge verify
}

epoch_changed() { [ "$(of_region "$1" .epoch)" != "$2" ]; }

@test "a region that leaves the configuration leaves the other's stream and lookups alone" {
  start_two_regions
  before=$(standing us)
  streams=$(connects us)
  begin_asking us
  write_config "$(source_yaml us "${URLS[us]}")"
  kill -HUP "$AGENT_PID"
  until_true region_is eu stopped
  follows us
  [ "$(standing us)" = "$before" ]
  [ "$(connects us)" = "$streams" ]
  end_asking

  stop_program "$AGENT_PID"
  run_agent edge
  until_true region_is us live
  serves us
  [ -z "$(of_region eu .state)" ]
  [ ! -e "$DIR/edge/eu" ]
}

@test "a region that is added is copied beside the other's stream" {
  start_two_regions
  write_config "$(source_yaml us "${URLS[us]}")"
  kill -HUP "$AGENT_PID"
  until_true region_is eu stopped
  before=$(standing us)
  write_config "$(source_yaml us "${URLS[us]}")" "$(source_yaml eu "${URLS[eu]}")"
  kill -HUP "$AGENT_PID"
  until_true region_is eu live
  follows eu
  [ "$(standing us)" = "$before" ]
}

@test "a dead URL is left for the next one, and the feed goes on from the cursor" {
  start_control
  start_proxy
  start_agent edge "$CP_A" "$PROXY_URL" "$URL"
  realm=$(make_realm prod "$CP_A")
  consumer=$(make_consumer "$realm" Alice)
  make_key "$realm" "$consumer"
  generation=$(ctl edge --json stat | jq '.sources[0].generation')

  fault stall 0 # the first URL says nothing any more, on open connections and new ones
  key=$(api POST "/v1/realms/$realm/consumers/$consumer/keys" '{"type":"new"}' | jq -er .secret)
  until_true lookup edge "$key" "realm:$realm"
  grep -q "not a byte for .*url=\"$PROXY_URL\"" "$DIR/edge.err"
  [ "$(ctl edge --json stat | jq '.sources[0].generation')" = "$generation" ]

  fault none # and back again, when the second one goes
  kill_program "$CONTROL_PID"
  start_control
  until_true agent_is edge live
  key=$(make_key "$realm" "$consumer")
  until_true lookup edge "$key" "realm:$realm"
}

@test "with every URL dead the store serves, and the first that comes back is followed" {
  start_control
  start_proxy
  start_agent edge "$CP_A" http://127.0.0.1:1 "$PROXY_URL"
  realm=$(make_realm prod "$CP_A")
  secret=$(make_key "$realm" "$(make_consumer "$realm" Alice)")
  fault answer 503
  fault sever
  until_true agent_is edge disconnected
  lookup edge "$secret" "realm:$realm"
  fault none
  until_true agent_is edge live
}
