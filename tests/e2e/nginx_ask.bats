#!/usr/bin/env bats
# The NGINX module asks: misses and stale answers go to the agent's socket, whatever is behind it.
# shellcheck disable=SC2034,SC2154 # the helpers read and set variables

load nginx_common

# start_fake_agent: something at ask.sock whose answers are in $DIR/reply; its questions are in $DIR/questions.
start_fake_agent() {
  rm -f "$DIR/reply" "$DIR/reply.drip" "$DIR/questions"
  "$BUILD/tests/fake_agent" "$DIR/edge/ask.sock" "$DIR/reply" "$DIR/questions" >"$DIR/fake_agent.out" 3>&- &
  FAKE_AGENT_PID=$!
  PIDS+=("$FAKE_AGENT_PID")
  until_true grep -q listening "$DIR/fake_agent.out"
}

# says [STATUS_LINE] BODY
says() {
  local line='HTTP/1.1 200 OK'
  [ $# = 1 ] || { line=$1; shift; }
  printf '%s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s' "$line" "$(printf %s "$1" | wc -c)" "$1" >"$DIR/reply.new"
  mv "$DIR/reply.new" "$DIR/reply"
}

says_raw() { printf "$@" >"$DIR/reply"; }

questions() { [ ! -f "$DIR/questions" ] || wc -l <"$DIR/questions"; }

WHO='{"id":"11111111-0000-4000-8000-000000000001","username":"Nora","custom_id":"n-1","consumer_groups":["gold","new"]}'
found() { # CONSUMER [REALM_NAME]
  printf '{"result":"found","source":{"type":"realm","region":"us","id":"%s"},"realm_name":%s,"consumer":%s,"credential":{"id":"22222222-0000-4000-8000-000000000002"}}' \
    "$PROD" "${2:-\"prod\"}" "$1"
}

# start_asking [DIRECTIVES [LOCATIONS [HTTP_LINES]]]
start_asking() {
  start_people
  start_echo
  stop_program "$AGENT_PID" # its store serves on; its socket would be in the way
  start_fake_agent
  start_nginx "location / { return 204; }
    location /a/ {
      realm_auth on;
      realm_auth_identity realm:us:$PROD cp cp:us realm:$PROD;
      realm_auth_key_in_body on;
      realm_auth_hide_credentials on;
      realm_auth_on_stale ask;
      ${1:-}
      proxy_pass http://$UPSTREAM;
    }
    ${2:-}" "${3:-}"
}

@test "a key that the store knows is not asked for" {
  start_asking
  expect 200 -H "apikey: $SECRET" /a/x
  [[ $(logged) == "200|found|$ALICE|"* ]]
  [ -z "$(questions)" ]
}

@test "a key that the store does not know is asked for, and its consumer is like any other" {
  start_asking
  says "$(found "$WHO")"
  expect 200 -H 'apikey: new "key"' -H 'X-Consumer-ID: root' /a/x
  [ "$(jq -c . "$DIR/questions")" = "$(jq -nc --arg prod "$PROD" '{secret: "new \"key\"", sources: [{type: "realm", region: "us", id: $prod},
    {type: "cp"}, {type: "cp", region: "us"}, {type: "realm", id: $prod}]}')" ]
  upstream_saw 'X-Consumer-ID: 11111111-0000-4000-8000-000000000001'
  upstream_saw 'X-Consumer-Username: Nora'
  upstream_saw 'X-Consumer-Custom-ID: n-1'
  upstream_saw 'X-Consumer-Groups: gold, new'
  upstream_saw 'X-Credential-Identifier: 22222222-0000-4000-8000-000000000002'
  upstream_did_not_see '^apikey|root'
  [[ $(logged) == '200|asked|11111111-0000-4000-8000-000000000001|Nora|n-1|22222222-0000-4000-8000-000000000002|gold, new|prod|'* ]]
  expect 200 -d 'apikey=in-body&b=1' /a/x
  [ "$(tail -n 1 "$DIR/answer")" = b=1 ]
  says "$(found '{"id":"i","username":null,"custom_id":null,"consumer_groups":[]}' null)"
  expect 200 -H 'apikey: new' /a/x
  upstream_saw 'X-Consumer-ID: i'
  upstream_did_not_see 'X-Consumer-(Username|Custom-ID|Groups)'
  touch "$DIR/reply.drip"
  expect 200 -H 'apikey: new' /a/x
}

@test "what is not found there either is refused, and a group that is required is required" {
  start_asking 'realm_auth_require_group silver;'
  says '{"result":"not_found"}'
  expect 401 -H 'apikey: new' /a/x
  [ "$(message)" = Unauthorized ]
  [[ $(logged) == '401|unknown|-|'* ]]
  says "$(found "$WHO")"
  expect 403 -H 'apikey: new' /a/x
  [[ $(logged) == '403|forbidden|11111111-'* ]]
}

@test "names with line breaks cannot add headers" {
  start_asking
  says "$(found '{"id":"i","username":"Eve\r\nX-Evil: 1","custom_id":"a\tb\u007f","consumer_groups":["g\n"]}')"
  expect 200 -H 'apikey: new' /a/x
  upstream_saw 'X-Consumer-Username: Eve%0D%0AX-Evil: 1'
  upstream_saw 'X-Consumer-Custom-ID: a%09b%7F'
  upstream_saw 'X-Consumer-Groups: g%0A'
  upstream_did_not_see '^x-evil'
}

@test "keys that nobody can have are refused, and do not switch the questions of others off" {
  start_people
  start_echo
  start_nginx "location / { return 204; }
    location /a/ {
      realm_auth on;
      realm_auth_identity realm:us:$PROD cp;
      realm_auth_key_in_body on;
      realm_auth_on_stale ask;
      proxy_pass http://$UPSTREAM;
    }"
  for key in %0A %00 a%7Fb %C2%85 %E2%80%AE %FF %C0%AF "$(printf 'x%.0s' {1..1200})"; do
    expect 401 "/a/?apikey=$key"
    expect 401 "/a/?apikey=nobody" # asked for: 503 while the region rests
    expect 401 -d "apikey=$key" /a/x
    expect 401 -H 'apikey: nobody2' /a/x
  done
}

@test "a group with a comma stays one group for the upstream, and blanks at its ends stay, too" {
  start_asking 'realm_auth_require_group "x, gold";'
  says "$(found '{"id":"i","username":" root\u202e","consumer_groups":["x, gold"," gold","caf\u00e9 bar","","\u2067\u0085"]}')"
  expect 200 -H 'apikey: new' /a/x
  grep -aqF 'X-Consumer-Groups: x%2C gold, %20gold, café bar, %E2%81%A7%C2%85' "$DIR/answer"
  upstream_saw 'X-Consumer-Username: %20root%E2%80%AE'
}

@test "a key that nobody can have is not asked for, and a question that the agent refuses is answered with a no" {
  start_asking
  says "$(found "$WHO")"
  for key in %0A a%00b a%7F "$(printf 'x%.0s' {1..1025})"; do
    expect 401 "/a/x?apikey=$key"
    [[ $(logged) == '401|unknown|-|'* ]]
  done
  [ -z "$(questions)" ]
  for code in 400 413 422; do
    says "HTTP/1.1 $code Bad" '{}'
    expect 401 -H 'apikey: new' /a/x
    [[ $(logged) == '401|unknown|-|'* ]]
  done
  grep -q 'realm_auth: cannot ask the control plane: the agent takes this for no question' "$DIR/error.log"
}

@test "an answer that is none is no answer, whatever it is, and no request hangs" {
  start_asking
  unavailable() {
    expect 401 -H 'apikey: new' /a/x
    [ "$(message)" = Unauthorized ]
  }
  for reply in '' 'x' 'HTTP/1.1 200' 'HTTP/1.1 200 OK\r\n' 'HTTP/1.1 200 OK\r\n\r\n{"result":"found"}' \
    'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"result":"found"' \
    'HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n' 'HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n{}' \
    'HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\n' 'HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n' \
    'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n' \
    'HTTP/2.0 200 OK\r\nContent-Length: 2\r\n\r\n{}' '\000\001\002\r\n\r\n' '\r\n\r\n\r\n\r\n'; do
    says_raw "$reply"
    unavailable
    touch "$DIR/reply.drip"
    unavailable
    rm "$DIR/reply.drip"
  done
  for body in '{}' '[]' '"found"' '{"result":"perhaps"}' '{"result":"found"}' '{"result":1}' 'null' '{"result":"not_found"' \
    "$(found '{"username":"no id"}')" "$(found '{"id":7}')" "$(found '{"id":"i","username":7}')" "$(found '[]')" \
    "$(found '{"id":"i","consumer_groups":"gold"}')" "$(found '{"id":"i","consumer_groups":[1]}')" \
    "$(found '{"id":"i","username":"\u0000"}')" "$(found '{"id":"i"}' 7)" \
    '{"result":"found","consumer":{"id":"i"},"credential":null}'; do
    says "$body"
    unavailable
  done
  says 'HTTP/1.1 503 Service Unavailable' "$(found "$WHO")"
  unavailable
  says 'HTTP/1.1 302 Found' "$(found "$WHO")"
  unavailable
  head -c 2000000 /dev/zero | tr '\0' x >"$DIR/reply"
  unavailable
  { printf 'HTTP/1.1 200 OK\r\n'; head -c 2000000 /dev/zero | tr '\0' x; } >"$DIR/reply"
  unavailable
  [ "$(grep -c 'realm_auth: cannot ask the control plane' "$DIR/error.log")" -lt 10 ]
}

@test "an agent that hangs is given up, one that is not there is not waited for, and others are served meanwhile" {
  start_asking 'realm_auth_ask_timeout 300ms;'
  curl -sS -o /dev/null -w '%{http_code}' -H 'apikey: new' "$WEB/a/x" >"$DIR/code" 3>&- &
  waiting=$!
  until_true test -s "$DIR/questions"
  expect 200 -H "apikey: $SECRET" /a/x
  wait "$waiting"
  [ "$(cat "$DIR/code")" = 401 ]
  grep -q 'realm_auth: cannot ask the control plane: the agent did not answer in time' "$DIR/error.log"
  kill_program "$FAKE_AGENT_PID"
  expect 401 -H 'apikey: new' /a/x
  rm "$DIR/edge/ask.sock"
  expect 401 -H 'apikey: new' /a/x
  start_fake_agent
  says "$(found "$WHO")"
  expect 200 -H 'apikey: new' /a/x
}

@test "a subrequest may ask, too" {
  start_asking '' "location /page/ { ssi on; ssi_types *; alias $DIR/files/; }"
  says "$(found "$WHO")"
  echo '<!--# include virtual="/a/one" --><!--# include virtual="/a/two" -->' >"$DIR/files/two"
  expect 200 -H 'apikey: new' /page/two
  [ "$(grep -c '^X-Consumer-Username: Nora' "$DIR/answer")" = 2 ]
  rm "$DIR/reply"
  says '{"result":"not_found"}'
  expect 200 -H 'apikey: new' /page/two
  [ "$(grep -c Unauthorized "$DIR/answer")" = 2 ]
}

@test "a client that goes away while the agent is asked leaves nothing behind" {
  second=$(free_port)
  start_asking 'realm_auth_ask_timeout 60s;' '' "server {
      listen 127.0.0.1:$second http2;
      access_log $DIR/access.log realm;
      location / { realm_auth on; realm_auth_on_stale ask; realm_auth_ask_timeout 60s; proxy_pass http://127.0.0.1:1; }
    }"
  for asked in 1 2 3 4; do
    if [ "$asked" = 4 ]; then
      curl -sS -o /dev/null --http2-prior-knowledge -H 'apikey: new' "http://127.0.0.1:$second/x" 3>&- &
    else
      curl -sS -o /dev/null -H 'apikey: new' "$WEB/a/x" 3>&- &
    fi
    waiting=$!
    until_true has_questions "$asked"
    kill -KILL "$waiting"
    wait "$waiting" || true
  done
  until_true no_connection_to_agent
  expect 200 -H "apikey: $SECRET" /a/x
  until_true four_went_away
}

four_went_away() { [ "$(grep -c '^499|' "$DIR/access.log")" = 4 ]; }

has_questions() { [ "$(questions)" = "$1" ]; }

no_connection_to_agent() {
  local worker
  worker=$(pgrep -P "$(cat "$DIR/nginx.pid")")
  [ "$(find "/proc/$worker/fd" -lname 'socket:*' | wc -l)" -le 3 ]
}

@test "a stale answer is asked for, and denied when nobody answers" {
  start_asking
  expect 200 -H "apikey: $SECRET" /a/x
  "$BUILD/tests/age_store" "$DIR/edge" $((11 * 60 * 1000))
  says "$(found "$WHO")"
  expect 200 -H "apikey: $SECRET" /a/x
  upstream_saw 'X-Consumer-Username: Nora'
  says '{"result":"not_found"}'
  expect 401 -H "apikey: $SECRET" /a/x
  [[ $(logged) == '401|unknown|-|'* ]]
  says 'HTTP/1.1 503 Service Unavailable' '{}'
  expect 401 -H "apikey: $SECRET" /a/x
  [[ $(logged) == '401|stale_denied|-|'* ]]
  kill_program "$FAKE_AGENT_PID"
  expect 401 -H "apikey: $SECRET" /a/x
  [[ $(logged) == '401|stale_denied|-|'* ]]
}

@test "many questions at once, in HTTP/1 and HTTP/2, are answered each" {
  start_asking
  says "$(found "$WHO")"
  touch "$DIR/reply.drip"
  curl -sS --parallel --parallel-max 30 -o /dev/null -w '%{http_code}\n' -H 'apikey: new' "$WEB/a/[1-100]" >"$DIR/codes"
  [ "$(sort "$DIR/codes" | uniq -c | tr -s ' ')" = ' 100 200' ]
  [ "$(questions)" = 100 ]
}

@test "a key that is no UTF-8 is nobody's, and not asked for" {
  start_asking
  says "$(found "$WHO")"
  expect 401 '/a/x?apikey=%ff%fe'
  [ -z "$(questions)" ]
}

# ---- with the real agent ----

start_asking_agent() {
  start_gateway 'realm_auth_on_stale ask;'
}

@test "with the real agent a key works from the moment it was created, and a wrong one does not" {
  start_asking_agent
  for _ in {1..20}; do
    key=$(api POST "/v1/realms/$PROD/consumers/$ALICE/keys" '{"type":"new"}' | jq -er .secret)
    expect 200 -H "apikey: $key" /a/x
    upstream_saw 'X-Consumer-Username: Alice'
    upstream_saw 'X-Consumer-Groups: gold, silver'
  done
  expect 401 -H 'apikey: wrong' /a/x
  [[ $(logged) == '401|unknown|-|'* ]]
  api DELETE "/v1/realms/$PROD/consumers/$ALICE/keys/$KEY_ID?wait=applied"
  expect 401 -H "apikey: $SECRET" /a/x
}

@test "with the real agent a stale store asks the control plane, and denies while that is away" {
  start_asking_agent
  kill_program "$CONTROL_PID"
  until_true agent_is edge disconnected
  "$BUILD/tests/age_store" "$DIR/edge" $((11 * 60 * 1000))
  expect 401 -H "apikey: $SECRET" /a/x
  [[ $(logged) == '401|stale_denied|-|'* ]]
  expect 401 -H 'apikey: wrong' /a/x
  start_control
  until_true agent_is edge live
  expect 200 -H "apikey: $SECRET" /a/x
  [[ $(logged) == "200|found|$ALICE|"* ]]
}
