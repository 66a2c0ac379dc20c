#!/usr/bin/env bats
# Questions on demand: the agent's unix socket, with a real control plane behind it.
# shellcheck disable=SC2154 # bats sets $status and $output

load common

# An agent whose feed passes through the fault proxy, and a realm with a consumer that it has.
start_held() {
  start_control
  start_proxy
  start_agent edge "$CP_A" "$PROXY_URL"
  realm=$(make_realm prod "$CP_A")
  consumer=$(make_consumer "$realm" Alice)
  old=$(make_key "$realm" "$consumer")
}

# A key that the agent's feed does not bring; the acknowledgement is not waited for.
make_key_now() { api POST "/v1/realms/$realm/consumers/$consumer/keys" '{"type":"new"}'; }

hold_feed() { fault stall 0 /v1/sync/feed; }
let_feed_go() { fault none; }

metric() { # NAME: of the agent edge
  curl -sS "http://$STATUS/metrics" | sed -nE "s/^realm_agent_$1 (.*)$/\1/p"
}

# serve_status: the status pages of edge's configuration, from its next start on.
serve_status() {
  STATUS=127.0.0.1:$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
  sed -i "s/^listen: .*/listen: $STATUS/" "$DIR/edge.yaml"
}

@test "what the store knows is answered from it" {
  start_held
  run ask edge "$old" "realm:us:$realm"
  [ "$status" = 0 ]
  [ "$(jq -c '[.result, .source.type, .source.region, .source.id, .realm_name]' <<<"$output")" = \
    "[\"found\",\"realm\",\"us\",\"$realm\",\"prod\"]" ]
  [ "$(jq -c '[.consumer.id, .consumer.username, .consumer.custom_id, .consumer.consumer_groups]' <<<"$output")" = \
    "[\"$consumer\",\"Alice\",null,[\"gold\"]]" ]
  jq -e '.credential.id | length == 36' <<<"$output"
  [ "$(ask edge no-such-key "realm:us:$realm" cp | jq -c .)" = '{"result":"not_found"}' ]
}

@test "a key created a moment ago is found while the feed is held back, and its answer outlives the control plane" {
  start_held
  hold_feed
  key=$(make_key_now)
  secret=$(jq -er .secret <<<"$key")
  run lookup edge "$secret" "realm:$realm"
  [ "$status" = 1 ]
  run ask edge "$secret" cp "realm:us:$realm"
  [ "$status" = 0 ]
  [ "$(jq -c '[.result, .consumer.username, .consumer.consumer_groups, .realm_name, .credential.id, .source.id]' <<<"$output")" = \
    "[\"found\",\"Alice\",[\"gold\"],\"prod\",$(jq .id <<<"$key"),\"$realm\"]" ]

  kill_program "$CONTROL_PID"
  again=$(ask edge "$secret" "realm:us:$realm")
  [ "$again" = "$output" ]
  [ "$(ask_status edge never-asked "realm:us:$realm")" = 503 ]
  [ "$(jq .status "$DIR/body")" = 503 ]
  ask edge "$old" "realm:us:$realm" # the store still serves
}

@test "a key revoked while its answer is kept is refused as soon as the feed says so" {
  start_held
  hold_feed
  key=$(make_key_now)
  secret=$(jq -er .secret <<<"$key")
  ask edge "$secret" "realm:us:$realm"
  api DELETE "/v1/realms/$realm/consumers/$consumer/keys/$(jq -r .id <<<"$key")"
  [ "$(ask edge "$secret" "realm:us:$realm" | jq -r .result)" = found ] # the feed has not said it
  let_feed_go
  until_true current edge
  [ "$(ask edge "$secret" "realm:us:$realm" | jq -r .result)" = not_found ]
}

@test "after a revocation that was waited for, no question finds the key" {
  start_held
  for _ in 1 2 3 4 5; do
    key=$(make_key_now)
    secret=$(jq -er .secret <<<"$key")
    [ "$(ask edge "$secret" "realm:us:$realm" | jq -r .result)" = found ]
    api DELETE "/v1/realms/$realm/consumers/$consumer/keys/$(jq -r .id <<<"$key")?wait=applied"
    [ "$(ask edge "$secret" "realm:us:$realm" | jq -r .result)" = not_found ]
  done
}

@test "the control plane's own consumers are asked for too, in the caller's order" {
  start_held
  hold_feed
  api POST "/v2/control-planes/$CP_A/core-entities/consumers" '{"username":"Izumi"}'
  api POST "/v2/control-planes/$CP_A/core-entities/consumers/Izumi/key-auth" '{"key":"shared"}'
  api POST "/v1/realms/$realm/consumers/$consumer/keys" '{"type":"legacy","secret":"shared"}'
  [ "$(ask edge shared cp "realm:us:$realm" | jq -r .consumer.username)" = Izumi ]
  [ "$(ask edge shared "realm:us:$realm" cp | jq -r .consumer.username)" = Alice ]
  [ "$(ask edge shared cp | jq -c .source)" = '{"type":"cp","region":"us"}' ]
}

@test "a realm of another control plane stays unknown, and another region is no \"no\"" {
  start_held
  dark=$(make_realm dark "$CP_B")
  eve=$(make_consumer "$dark" Eve)
  api POST "/v1/realms/$dark/consumers/$eve/keys" '{"type":"legacy","secret":"hidden"}'
  [ "$(ask edge hidden "realm:us:$dark" | jq -r .result)" = not_found ]
  [ "$(ask_status edge hidden "realm:eu:$dark")" = 503 ]
}

@test "a miss is kept, and the control plane asked once" {
  start_control
  start_proxy
  write_agent_config edge "$CP_A" "$PROXY_URL"
  serve_status
  run_agent edge
  until_true agent_is edge live
  realm=$(make_realm prod "$CP_A")
  ask edge wrong "realm:us:$realm"
  ask edge wrong "realm:us:$realm"
  [ "$(metric ask_upstream_total)" = 1 ]
  [ "$(metric 'ask_questions_total\{result="not_found"\}')" = 2 ]
}

@test "the next URL is asked when the first does not answer" {
  start_held
  write_agent_config second "$CP_A" http://127.0.0.1:1 "$URL"
  run_agent second
  until_true agent_is second live
  secret=$(make_key_now | jq -er .secret)
  [ "$(ask second "$secret" "realm:us:$realm" | jq -r .result)" = found ]
}

@test "bad requests are told what is wrong, and never what they held" {
  start_held
  socket=$DIR/edge/ask.sock
  said() { # STATUS CURL-OPTION...
    local wanted=$1
    shift
    [ "$(curl -sS -o "$DIR/body" -w '%{http_code} %{content_type}' --unix-socket "$socket" "$@")" = \
      "$wanted application/problem+json" ] || { cat "$DIR/body" >&2; return 1; }
    [ "$(jq .status "$DIR/body")" = "$wanted" ]
    run grep -c s3cr3t "$DIR/body"
    [ "$output" = 0 ]
  }
  said 405 http://agent/v1/auth
  said 404 -d '{}' http://agent/v1/other
  said 400 -d '' http://agent/v1/auth
  said 400 -d '{"secret":"s3cr3t"' http://agent/v1/auth
  said 400 -d '{"secret":"s3cr3t","sources":[]}' http://agent/v1/auth
  said 400 -d '{"secret":"s3cr3t","sources":[{"type":"s3cr3t"}]}' http://agent/v1/auth
  said 400 -d '{"secret":"s3cr3t","sources":[{"type":"realm","id":"s3cr3t"}]}' http://agent/v1/auth
  said 400 -d '{"secret":7,"sources":[{"type":"cp"}]}' http://agent/v1/auth
  head -c 100000 /dev/zero | tr '\0' ' ' >"$DIR/large"
  said 413 --data-binary @"$DIR/large" http://agent/v1/auth
  said 413 -H 'Transfer-Encoding: chunked' --data-binary @"$DIR/large" http://agent/v1/auth
  curl -sS -D - -o "$DIR/body" --unix-socket "$socket" -X PUT http://agent/v1/auth | grep -qi '^allow: POST'
}

@test "who may read the store may ask, and nobody else" {
  [ "$(id -u)" = 0 ] || skip 'needs root to become other users'
  start_control
  write_agent_config edge "$CP_A"
  sed -i '1a reader_group: users' "$DIR/edge.yaml"
  run_agent edge
  until_true agent_is edge live
  realm=$(make_realm prod "$CP_A")
  secret=$(make_key "$realm" "$(make_consumer "$realm" Alice)")
  [ "$(stat -c '%F %a %G' "$DIR/edge/ask.sock")" = 'socket 660 users' ]
  body=$(ask_body "$secret" "realm:us:$realm")
  setpriv --reuid=nobody --regid=users --clear-groups curl -sS --fail-with-body \
    --unix-socket "$DIR/edge/ask.sock" -d "$body" http://agent/v1/auth | grep -q '"found"'
  chmod 755 "$DIR/edge" # the socket's own mode is what refuses
  run setpriv --reuid=nobody --regid=nogroup --clear-groups curl -sS --fail-with-body \
    --unix-socket "$DIR/edge/ask.sock" -d "$body" http://agent/v1/auth
  [ "$status" = 7 ]
}

@test "the socket goes with the agent, and one that was left is replaced" {
  start_held
  [ -S "$DIR/edge/ask.sock" ]
  stop_program "$AGENT_PID"
  [ ! -e "$DIR/edge/ask.sock" ]
  run_agent edge
  until_true agent_is edge live
  kill_program "$AGENT_PID"
  [ -S "$DIR/edge/ask.sock" ]
  run_agent edge
  until_true agent_is edge live
  ask edge "$old" "realm:us:$realm"
}

@test "no secret that was asked for is in a log or a file" {
  start_held
  hold_feed
  secret=$(make_key_now | jq -er .secret)
  ask edge "$secret" "realm:us:$realm"
  kill_program "$CONTROL_PID"
  ask_status edge s3cr3t-of-nobody "realm:us:$realm"
  run grep -raFl -e "$secret" -e s3cr3t-of-nobody "$DIR/edge" "$DIR/edge.err" "$DIR/control.err"
  [ "$status" = 1 ]
}

@test "an agent that retains nothing asks the control plane for what it could read itself" {
  start_control
  write_agent_config edge "$CP_A"
  sed -i 's/^retention_ms: .*/retention_ms: 0/' "$DIR/edge.yaml"
  serve_status
  run_agent edge
  until_true agent_is edge live
  realm=$(make_realm prod "$CP_A")
  secret=$(make_key "$realm" "$(make_consumer "$realm" Alice)")
  [ "$(ask edge "$secret" "realm:us:$realm" | jq -r .consumer.username)" = Alice ]
  [ "$(metric 'ask_answers_total\{from="control_plane"\}')" = 1 ]
  [ "$(metric 'ask_answers_total\{from="store"\}')" = 0 ]
}

@test "a store directory with too long a name works, without questions on demand" {
  start_control
  name=$(printf 'x%.0s' {1..120})
  write_agent_config "$name" "$CP_A"
  run_agent "$name"
  until_true agent_is "$name" live
  grep -q 'no questions on demand' "$DIR/$name.err"
  realm=$(make_realm prod "$CP_A")
  lookup "$name" "$(make_key "$realm" "$(make_consumer "$realm" Alice)")" "realm:$realm"
}

@test "through a generation switch and a reload the socket answers" {
  start_held
  generation=$(ctl edge --json stat | jq '.sources[0].generation')
  stop_program "$CONTROL_PID"
  touch "$DIR/control/new-epoch"
  start_control
  until_true generation_is_not "$generation"
  [ "$(ask edge "$old" "realm:us:$realm" | jq -r .result)" = found ]
  kill -HUP "$AGENT_PID"
  until_true grep -q 'configuration reloaded' "$DIR/edge.err"
  [ "$(ask edge "$old" "realm:us:$realm" | jq -r .result)" = found ]
}

generation_is_not() { [ "$(ctl edge --json stat | jq '.sources[0].generation')" != "$1" ]; }
