#!/usr/bin/env bats
# A store directory that is removed and made anew, or becomes a link elsewhere, under a gateway that goes on running.
# shellcheck disable=SC2034,SC2154 # the helpers read and set variables

load nginx_common

code_is() { get "${@:2}" && [ "$status" = "$1" ]; }

# The agent is away while the key is revoked, and comes back with a copy that never had it.
revoke_while_away() {
  expect 200 -H "apikey: $SECRET" /a/x
  stop_program "$AGENT_PID"
  api DELETE "/v1/realms/$PROD/consumers/$ALICE/keys/$KEY_ID"
}

come_back() {
  run_agent edge
  until_true agent_is edge live
  second=$(make_key "$PROD" "$ALICE") # wait=applied
}

@test "a gateway moves to the store that was made anew in the same place" {
  NGINX_WORKERS=2
  start_gateway
  workers=$(pgrep -P "$(cat "$DIR/nginx.pid")" | sort | tr '\n' ' ')
  revoke_while_away
  rm -r "$DIR/edge"
  come_back
  until_true code_is 401 -H "apikey: $SECRET" /a/x
  until_true code_is 200 -H "apikey: $second" /a/x
  api DELETE "/v1/realms/$PROD/consumers/$ALICE?wait=applied" # and follows it
  until_true code_is 401 -H "apikey: $second" /a/x
  [ "$(pgrep -P "$(cat "$DIR/nginx.pid")" | sort | tr '\n' ' ')" = "$workers" ]
}

@test "a gateway moves to where its store's path leads now" {
  start_gateway
  revoke_while_away
  mv "$DIR/edge" "$DIR/former"
  mkdir "$DIR/elsewhere"
  ln -s "$DIR/elsewhere" "$DIR/edge"
  sed -i "s|^store_dir:.*|store_dir: $DIR/elsewhere|" "$DIR/edge.yaml"
  come_back
  until_true code_is 401 -H "apikey: $SECRET" /a/x
  until_true code_is 200 -H "apikey: $second" /a/x
}

@test "without a new store the old copy serves on, and says that it is old" {
  start_gateway
  expect 200 -H "apikey: $SECRET" /a/x
  stop_program "$AGENT_PID"
  rm -r "$DIR/edge"
  expect 200 -H "apikey: $SECRET" /a/x
  run_agent edge
  until_true agent_is edge live
  second=$(make_key "$PROD" "$ALICE")
  until_true code_is 200 -H "apikey: $second" /a/x
}
