#!/usr/bin/env bats
# Who a host is, with real programs: two agents of one name, copies of a store directory, liars with a token.
# shellcheck disable=SC2154 # bats sets $status and $output

load common

# start_namesake NAME: an agent with its own store and token whose host_name is "twin".
start_namesake() {
  write_agent_config "$1" "$CP_A"
  sed -i 's/^host_name: .*/host_name: twin/' "$DIR/$1.yaml"
  run_agent "$1"
  until_true agent_is "$1" live
}

start_two() {
  start_control
  realm=$(make_realm prod "$CP_A")
  consumer=$(make_consumer "$realm" Alice)
  start_namesake one
  start_namesake two
  until_true has_hosts 2
}

hosts() { api GET /v1/hosts | jq -c "$@"; }
has_hosts() { [ "$(hosts '[.data[] | select(.connected)] | length')" = "$1" ]; }

# delete_key CONSUMER KEY: status, Realm-Applied and body of a deletion that is waited for.
delete_key() {
  curl -sS -X DELETE -D "$DIR/headers" -o "$DIR/body" -w '%{http_code} ' -H "Authorization: Bearer $ADMIN_TOKEN" \
    "$URL/v1/realms/$realm/consumers/$1/keys/$2?wait=applied&timeout_ms=${3:-20000}"
  sed -nE 's/^realm-applied: ([^\r]*)\r?$/\1/Ip' "$DIR/headers"
}

make_key_of() { api POST "/v1/realms/$realm/consumers/$1/keys?wait=applied" '{"type":"new"}'; }

@test "two agents of one name are two hosts, and a key that is reported gone is gone on both" {
  start_two
  for _ in 1 2 3 4 5; do
    key=$(make_key_of "$consumer")
    lookup one "$(jq -r .secret <<<"$key")" "realm:$realm"
    [ "$(delete_key "$consumer" "$(jq -r .id <<<"$key")")" = "204 applied=2 total=2" ]
    for name in one two; do
      run lookup "$name" "$(jq -r .secret <<<"$key")" "realm:$realm"
      [ "$status" = 1 ]
    done
  done

  # Neither was ended by the other; both are shown, and each side says once what is wrong.
  [ "$(hosts '[.data[] | select(.name == "twin" and .connected and .name_shared)] | length')" = 2 ]
  [ "$(hosts '[.data[].instance] | unique | length')" = 2 ]
  [ "$(grep -c 'are named .*twin' "$DIR/control.err")" = 1 ]
  for name in one two; do
    until_true grep -q 'another host is connected as .*twin' "$DIR/$name.err"
    [ "$(grep -c 'another host is connected' "$DIR/$name.err")" = 1 ]
    [ "$(grep -c 'ended the feed' "$DIR/$name.err")" = 0 ]
    grep -q "this host is instance" "$DIR/$name.err"
  done
}

@test "a host that stands still is late, named with its instance, whatever its namesake says" {
  start_two
  key=$(make_key_of "$consumer")
  kill -STOP "$AGENT_PID"
  [ "$(delete_key "$consumer" "$(jq -r .id <<<"$key")" 300)" = "202 applied=1 total=2" ]
  instance=$(sed -nE 's/^id (.*)/\1/p' "$DIR/two/instance.id")
  [ "$(jq -c .late "$DIR/body")" = "[\"twin (instance $instance)\"]" ]
  run lookup two "$(jq -r .secret <<<"$key")" "realm:$realm"
  [ "$status" = 0 ]
  kill -CONT "$AGENT_PID"
}

@test "a copy of a store directory is another host" {
  start_control
  realm=$(make_realm prod "$CP_A")
  consumer=$(make_consumer "$realm" Alice)
  start_namesake one
  stop_program "$AGENT_PID"
  cp -a "$DIR/one" "$DIR/two"
  run_agent one
  start_namesake two
  until_true has_hosts 2
  grep -q 'this host is another one than before' "$DIR/two.err"
  [ "$(grep -c 'this host is another one than before' "$DIR/one.err")" = 0 ]
  [ "$(hosts '[.data[].instance] | unique | length')" = 2 ]
  key=$(make_key_of "$consumer")
  [ "$(delete_key "$consumer" "$(jq -r .id <<<"$key")")" = "204 applied=2 total=2" ]
}

one_host_is_left() { [ "$(hosts '[.data[] | .name]')" = '["twin"]' ] && has_hosts 1; }

@test "an agent that was killed and started again is the same host" {
  start_control
  start_namesake one
  first=$(hosts '.data[0].instance')
  kill_program "$AGENT_PID"
  run_agent one
  until_true agent_is one live
  until_true one_host_is_left
  [ "$(hosts '.data[0].instance')" = "$first" ]
}

# ---- liars ----

# acknowledge TOKEN HOST INSTANCE FEED VERSION [VERIFIED]: prints the status; the body is in $DIR/body.
acknowledge() {
  local token=$1 body
  body=$(jq -cn --arg cp "$CP_A" --arg host "$2" --arg instance "$3" --arg feed "$4" --arg epoch "$epoch" --argjson version "$5" \
    --argjson verified "${6:-0}" '{control_plane_id: $cp, host: $host, epoch: $epoch, version: $version, verified: $verified}
      + if $instance == "" then {} else {instance: $instance} end + if $feed == "" then {} else {feed: $feed} end')
  TOKEN=$token api_status POST /v1/sync/ack "$body"
}

# open_feed TOKEN QUERY: a feed in the background, its lines in $DIR/feed.N; sets FEED to its id and FEED_FILE.
open_feed() {
  FEED_FILE="$DIR/feed.$((++FEEDS))"
  curl -sSN -o "$FEED_FILE" -H "Authorization: Bearer $1" "$URL/v1/sync/feed?control_plane_id=$CP_A&$2" 3>&- &
  FEED_PID=$!
  PIDS+=("$FEED_PID")
  until_true grep -q '"type":"heartbeat"' "$FEED_FILE"
  FEED=$(head -1 "$FEED_FILE" | jq -r .feed)
}
FEEDS=0
INSTANCE=aaaaaaaa-0000-4000-8000-000000000001

newest() { curl -sS "$URL/metrics" | sed -nE 's/^realm_control_version ([0-9]+).*/\1/p'; }

@test "no token acknowledges for another's host, nor more than what was sent" {
  start_control
  realm=$(make_realm prod "$CP_A")
  consumer=$(make_consumer "$realm" Alice)
  write_agent_config edge "$CP_A"
  run_agent edge
  until_true agent_is edge live
  until_true has_hosts 1
  key=$(make_key_of "$consumer")
  epoch=$(api GET /v1/epoch | jq -r .epoch)
  mine=$(cat "$DIR/edge.token")
  liar=$(data_plane_token "$CP_A")
  instance=$(sed -nE 's/^id (.*)/\1/p' "$DIR/edge/instance.id")
  kill -STOP "$AGENT_PID"

  # In its name, with another token, with and without instance and feed; with its own token, but not its feed.
  open_feed "$liar" "host=edge&instance=$instance&epoch=$epoch&version=$(newest)"
  for token in "$liar" "$mine"; do
    [ "$(acknowledge "$token" edge "" "" 1)" = 409 ]
    [ "$(acknowledge "$token" edge "$instance" "" 1)" = 400 ]
    [ "$(acknowledge "$token" edge "$instance" "$INSTANCE" 1)" = 409 ]
    [ "$(acknowledge "$token" edge "$instance" "$INSTANCE" 1000000000000000)" = 409 ]
  done
  [ "$(acknowledge "$mine" edge "$instance" "$FEED" 1)" = 409 ]
  [ "$(jq -r .title "$DIR/body")" = Conflict ]
  jq -er .detail "$DIR/body" | grep -q 'opened with these credentials'

  # On its own feed it says what it likes, up to what was sent there.
  [ "$(acknowledge "$liar" edge "$instance" "$FEED" 1000000000000000)" = 409 ]
  jq -er .detail "$DIR/body" | grep -q 'was not sent'
  [ "$(acknowledge "$liar" edge "$instance" "$FEED" 1 2)" = 409 ]
  epoch=$INSTANCE
  [ "$(acknowledge "$liar" edge "$instance" "$FEED" 1)" = 409 ]
  epoch=$(api GET /v1/epoch | jq -r .epoch)

  # The deletion is on its way to both; the liar acknowledges it for the host that stands still.
  (delete_key "$consumer" "$(jq -r .id <<<"$key")" 2000 >"$DIR/answer") &
  until_true grep -q '"type":"commit"' "$FEED_FILE"
  [ "$(acknowledge "$liar" edge "$instance" "$FEED" "$(newest)")" = 204 ]
  wait $!
  [ "$(cat "$DIR/answer")" = "202 applied=1 total=2" ]
  kill -CONT "$AGENT_PID"

  # After it has left, its feed's name is worth nothing.
  kill "$FEED_PID"
  until_true has_hosts 1
  [ "$(acknowledge "$liar" edge "$instance" "$FEED" 1)" = 409 ]
  curl -sS "$URL/metrics" | grep -qE '^realm_control_acknowledgements_refused_total [1-9]'
  [ "$(grep -c 'ended the feed' "$DIR/edge.err")" = 0 ]
}

# What an agent asks and says that knows of no instances, as it was recorded.
@test "an agent of before is fed, counted, and believed on the one feed that it has" {
  start_control
  realm=$(make_realm prod "$CP_A")
  consumer=$(make_consumer "$realm" Alice)
  key=$(make_key_of "$consumer")
  epoch=$(api GET /v1/epoch | jq -r .epoch)
  token=$(data_plane_token "$CP_A")
  open_feed "$token" "host=edge&agent=0.1.0&epoch=$epoch&version=$(newest)"
  (delete_key "$consumer" "$(jq -r .id <<<"$key")" >"$DIR/answer") &
  until_true grep -q '"type":"commit"' "$FEED_FILE"
  [ "$(acknowledge "$(data_plane_token "$CP_A")" edge "" "" "$(newest)")" = 409 ]
  [ "$(acknowledge "$token" edge "" "" 1000000000000000)" = 409 ]
  [ "$(acknowledge "$token" edge "" "" "$(newest)")" = 204 ]
  wait $!
  [ "$(cat "$DIR/answer")" = "204 applied=1 total=1" ]
  [ "$(hosts '[.data[] | [.name, .instance, .agent, .applied_version]]')" = "[[\"edge\",null,\"0.1.0\",$(newest)]]" ]
}

@test "a thousand feeds of hosts that never acknowledge leave nothing behind" {
  start_control
  token=$(data_plane_token "$CP_A")
  seq 1000 | sed -E "s|(.*)|url = \"$URL/v1/sync/feed?control_plane_id=$CP_A\&host=phantom-\1\"\nmax-time = 0.5\noutput = /dev/null|; s|^url|next\nurl|" |
    sed 1d >"$DIR/phantoms"
  sed -i "s|^max-time|header = \"Authorization: Bearer $token\"\nmax-time|" "$DIR/phantoms"
  curl -sS --parallel --parallel-max 200 -K "$DIR/phantoms" 2>/dev/null || true
  [ "$(curl -sS "$URL/metrics" | sed -nE 's|^realm_control_http_requests_total.*route="/v1/sync/feed",status="200".* ([0-9]+)|\1|p')" -gt 500 ]
  until_true has_hosts 0
  [ "$(hosts '.data | length')" = 0 ]
  curl -sS "$URL/metrics" | grep -q '^realm_control_hosts 0$'
}

@test "feeds over the cap are answered 429 with the cap's name, and one that is free again is taken" {
  start_control --max-feeds-per-token 1
  token=$(data_plane_token "$CP_A")
  open_feed "$token" "host=edge-1&instance=$INSTANCE&epoch=$(api GET /v1/epoch | jq -r .epoch)&version=0"
  [ "$(TOKEN=$token api_status GET "/v1/sync/feed?control_plane_id=$CP_A&host=edge-2")" = 429 ]
  jq -er .detail "$DIR/body" | grep -q max_feeds_per_token
  curl -sS -D "$DIR/headers" -o /dev/null -H "Authorization: Bearer $token" "$URL/v1/sync/feed?control_plane_id=$CP_A&host=edge-2"
  grep -qi '^retry-after: [0-9]' "$DIR/headers"
  grep -q 'as many as max_feeds_per_token allows' "$DIR/control.err"
  kill "$FEED_PID"
  until_true has_hosts 0
  open_feed "$token" "host=edge-2&epoch=$(api GET /v1/epoch | jq -r .epoch)&version=0"
}
