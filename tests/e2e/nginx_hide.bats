#!/usr/bin/env bats
# The NGINX module: keys in bodies, and keys that neither the upstream nor a log gets to see.
# shellcheck disable=SC2034,SC2154 # the helpers read and set variables

load nginx_common

json() { expect "$1" -H 'Content-Type: application/json; charset=utf-8' -d "$2" /a/x; }

# The body that the upstream saw: what follows the first empty line.
upstream_body() { sed '1,/^$/d' "$DIR/answer"; }

# body_arrived BYTES: this body, and a Content-Length that says so.
body_arrived() {
  [ "$(upstream_body)" = "$1" ] || { cat "$DIR/answer" >&2; return 1; }
  upstream_saw "Content-Length: ${#1}"
}

no_secret_in_logs() { ! grep -aF -- "$SECRET" "$DIR/error.log" "$DIR/access.log" >&2; }

@test "keys are found in form and JSON bodies, which reach the upstream as they came" {
  start_gateway 'realm_auth_key_in_body on;'
  expect 200 -d "a=1&apikey=$SECRET&b=%20" /a/x
  body_arrived "a=1&apikey=$SECRET&b=%20"
  json 200 "{\"a\":1,\"apikey\":\"$SECRET\"}"
  body_arrived "{\"a\":1,\"apikey\":\"$SECRET\"}"
  json 200 "{\"\\u0061pikey\" : \"$SECRET\", \"n\": 123456789012345678901234567890, \"z\":\"\\u0000\"}"
  expect 200 -H 'Transfer-Encoding: chunked' -d "apikey=$SECRET" /a/x
  upstream_saw "apikey=$SECRET"
}

@test "a body that is no form and no JSON object, or does not parse, holds no key" {
  start_gateway 'realm_auth_key_in_body on;'
  missing() {
    expect 401 -d "$2" -H "Content-Type: $1" /a/x
    [ "$(message)" = 'No API key found in request' ]
  }
  missing text/plain "apikey=$SECRET"
  missing '' "apikey=$SECRET"
  missing application/json "{\"apikey\":\"$SECRET\""
  missing application/json "[\"apikey\",\"$SECRET\"]"
  missing application/json "\"$SECRET\""
  missing application/json '{"apikey":null}'
  missing application/json '{"apikey":7}'
  missing application/json '{"apikey":""}'
  missing application/json "{\"a\":{\"apikey\":\"$SECRET\"}}"
  missing application/json "apikey=$SECRET"
  missing application/x-www-form-urlencoded "{\"apikey\":\"$SECRET\"}"
  missing application/x-www-form-urlencoded '%'
  printf '{"a":%s' "$(printf '[%.0s' {1..3000})" >"$DIR/deep"
  missing application/json "@$DIR/deep"
}

@test "bodies beyond client_body_buffer_size are searched on disk, and refused where keys are hidden and they are too large to search" {
  start_people
  start_echo
  common="realm_auth on; realm_auth_identity realm:us:$PROD; realm_auth_key_in_body on; proxy_pass http://$UPSTREAM;"
  start_nginx "client_body_buffer_size 1k; client_max_body_size 10m; realm_auth_body_max_size 100k;
    location / { return 204; }
    location /a/ { realm_auth_hide_credentials on; $common }
    location /shown/ { $common }"
  filler=$(head -c 60000 /dev/zero | tr '\0' x)
  echo "a=$filler&apikey=$SECRET&b=$filler" | tr -d '\n' >"$DIR/form"
  for length in "Accept: */*" 'Transfer-Encoding: chunked'; do
    expect 413 -H "$length" --data-binary "@$DIR/form" /a/x
    expect 413 -H "$length" -H "apikey: $SECRET" --data-binary "@$DIR/form" /a/x
    expect 401 -H "$length" --data-binary "@$DIR/form" /shown/x
    expect 200 -H "$length" -H "apikey: $SECRET" --data-binary "@$DIR/form" /shown/x
    expect 200 -H "$length" -H "apikey: $SECRET" -H 'Content-Type: text/plain' --data-binary "@$DIR/form" /a/x
  done
  grep -q 'keys cannot be hidden in a body that is larger than realm_auth_body_max_size' "$DIR/error.log"
  echo "a=$filler&apikey=$SECRET&b=1" | tr -d '\n' >"$DIR/form"
  expect 200 --data-binary "@$DIR/form" /a/x
  body_arrived "a=$filler&b=1"
  expect 200 -H 'Transfer-Encoding: chunked' --data-binary "@$DIR/form" /a/x
  body_arrived "a=$filler&b=1"
  echo "{\"a\":\"$filler\",\"apikey\":\"$SECRET\"}" >"$DIR/json"
  expect 200 -H 'Content-Type: application/json' --data-binary "@$DIR/json" /a/x
  body_arrived "{\"a\":\"$filler\"}"
}

@test "hide_credentials takes all key names out of header, query and body, and nothing else" {
  start_gateway 'realm_auth_key_in_body on; realm_auth_hide_credentials on; realm_auth_key_names apikey X_Second;'
  expect 200 -H "APIKEY: $SECRET" -H 'x-second: theirs' -H 'Other: stays' -d 'apikey=theirs&b=2' "/a/x?apikey=mine&c=%20d&apikey&e"
  [ "$(head -n 1 "$DIR/answer")" = 'POST /a/x?c=%20d&e' ]
  upstream_saw 'Other: stays'
  upstream_did_not_see '^apikey|theirs|mine'
  body_arrived 'b=2'
  expect 200 -H "X_Second: a" -H "x-second: $SECRET" /a/x
  upstream_did_not_see second
  expect 200 "/a/%2e%2fx?apikey=$SECRET"
  [ "$(head -n 1 "$DIR/answer")" = 'GET /a/%2e%2fx' ]
  json 200 "{ \"list\" : [1, {\"apikey\":2}, \"}\"] , \"\\u0061pikey\":\"$SECRET\",\"big\":12345678901234567890, \"r\":0.10, \"q\":\"\\\"\", \"apikey\":\"$SECRET\" }"
  body_arrived '{"list" : [1, {"apikey":2}, "}"],"big":12345678901234567890,"r":0.10,"q":"\""}'
  json 200 "{\"apikey\":\"$SECRET\"}"
  body_arrived '{}'
  expect 200 -d "apikey=$SECRET" /a/x
  [ -z "$(upstream_body)" ]
  upstream_saw 'Content-Length: 0'
}

@test "a key in Authorization is hidden from \$http_authorization and \$remote_user too" {
  start_gateway 'realm_auth_hide_credentials on; realm_auth_key_names authorization;
      add_header Seen "[$http_authorization$remote_user]" always;'
  api POST "/v1/realms/$PROD/consumers/$ALICE/keys?wait=applied" '{"type":"legacy","secret":"Basic YTpi"}'
  expect 200 -H 'Authorization: Basic YTpi' /a/x
  answer_has 'Seen: \[\]'
  upstream_did_not_see '^authorization'
}

@test "without hide_credentials everything reaches the upstream as it came" {
  start_gateway
  expect 200 -H "apikey: $SECRET" "/a/x?apikey=mine&c=%20d"
  [ "$(head -n 1 "$DIR/answer")" = 'GET /a/x?apikey=mine&c=%20d' ]
  upstream_saw "apikey: $SECRET"
}

@test "no key in a query is logged, neither by NGINX nor by the module" {
  NGINX_LOG='$request|$status'
  start_gateway 'limit_req zone=one;' '' 'limit_req_zone $server_port zone=one:32k rate=1r/m;'
  expect 200 "/a/x?a=1&apikey=$SECRET&b=2"
  [ "$(logged)" = 'GET /a/x?a=1&apikey=***&b=2 HTTP/1.1|200' ]
  expect 503 "/a/x?apikey=$SECRET"
  grep -q 'limiting requests.*request: "GET /a/x?apikey=\*\*\* HTTP/1.1"' "$DIR/error.log"
  expect 503 "/a/x?%61pikey=$SECRET&apikey"
  [ "$(logged)" = 'GET /a/x?%61pikey=***&apikey HTTP/1.1|503' ]
  no_secret_in_logs
}

@test "an internal redirect after hide_credentials still knows the key" {
  start_people
  start_echo
  start_nginx "location / { return 204; }
    location /redirect/ {
      realm_auth on; realm_auth_identity realm:us:$PROD; realm_auth_hide_credentials on; realm_auth_key_in_body on;
      proxy_pass http://$UPSTREAM;
    }
    location /inner/ {
      internal; realm_auth on; realm_auth_identity cp realm:us:$PROD; realm_auth_hide_credentials on;
      proxy_pass http://$UPSTREAM;
    }
    location /strange/ {
      internal; realm_auth on; realm_auth_identity cp; proxy_pass http://$UPSTREAM;
    }
    location /named/ {
      realm_auth on; realm_auth_identity realm:us:$PROD; realm_auth_hide_credentials on;
      try_files /none @named;
    }
    location @named { realm_auth on; realm_auth_identity realm:us:$PROD; proxy_pass http://$UPSTREAM; }"
  expect 200 -H "apikey: $SECRET" /redirect/inner/x
  upstream_saw 'X-Consumer-Username: Alice'
  upstream_did_not_see '^apikey'
  [[ $(logged) == "200|found|$ALICE|"* ]]
  expect 200 "/redirect/inner/x?apikey=$SECRET"
  upstream_saw 'X-Consumer-Username: Alice'
  expect 200 -d "apikey=$SECRET" /redirect/inner/x
  upstream_saw 'X-Consumer-Username: Alice'
  expect 401 -H "apikey: $SECRET" /redirect/strange/x
  [[ $(logged) == "401|unknown|-|"* ]]
  expect 200 -H "apikey: $SECRET" /named/x
  upstream_saw 'X-Consumer-Username: Alice'
}
