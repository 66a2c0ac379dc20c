#!/usr/bin/env bats
# What the NGINX module says when it refuses.
# shellcheck disable=SC2034,SC2154 # the helpers read and set variables

load nginx_common

# body_is FORMAT MESSAGE: the answer's body is this, byte for byte, but for the request's id in it.
body_is() {
  local id
  id=$(logged | sed -nE 's/^request_id ([0-9a-f]{32})$/\1/p')
  case $1 in
    json) printf '{\n  "message":"%s",\n  "request_id":"%s"\n}' "$2" "$id" ;;
    html) printf '<!doctype html>\n<html>\n  <head>\n    <meta charset="utf-8">\n    <title>Error</title>\n  </head>\n  <body>\n    <h1>Error</h1>\n    <p>%s.</p>\n    <p>request_id: %s</p>\n  </body>\n</html>\n' "$2" "$id" ;;
    xml) printf '<?xml version="1.0" encoding="UTF-8"?>\n<error>\n  <message>%s</message>\n  <requestid>%s</requestid>\n</error>\n' "$2" "$id" ;;
    plain) printf '%s\nrequest_id: %s\n' "$2" "$id" ;;
  esac >"$DIR/wanted"
  cmp "$DIR/wanted" "$DIR/answer" || { cat "$DIR/answer" >&2; return 1; }
  answer_has "Content-Length: $(wc -c <"$DIR/wanted")"
}

@test "the body of a 401 is in the format that Accept prefers" {
  NGINX_LOG='request_id $request_id'
  start_gateway
  accepted() { # FORMAT TYPE ACCEPT
    expect 401 -H "Accept: $3" /a/x
    body_is "$1" 'No API key found in request'
    answer_has "Content-Type: $2; charset=utf-8"
    answer_has 'WWW-Authenticate: Key'
  }
  expect 401 -H 'Accept:' /a/x
  body_is json 'No API key found in request'
  accepted json application/json '*/*'
  accepted json application/json 'application/json'
  accepted json application/json 'application/*'
  accepted json application/json 'image/png'
  accepted json application/json 'no media range'
  accepted html text/html 'text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8'
  accepted html text/html 'application/json;q=0.5, text/html;level=1;q=0.7'
  accepted xml application/xml 'application/xml'
  accepted plain text/plain 'text/plain'
  accepted plain text/plain 'text/*'
  accepted plain text/plain 'text/plain, text/html'
  accepted json application/json 'text/html;q=0'
  accepted xml application/xml 'text/html ; q=0.2 , application/xml ; q=0.25'
  expect 401 -H "apikey: wrong" -H 'Accept: text/plain' /a/x
  body_is plain Unauthorized
  expect 401 -H "apikey: a" -H "apikey: b" -H 'Accept: application/xml' /a/x
  body_is xml 'Duplicate API key found'
}

@test "HEAD is refused without a body, and the connection goes on" {
  start_gateway
  expect 401 -I /a/x
  [ "$(curl -sS -o "$DIR/1" -o "$DIR/2" -w '%{http_code}/%{num_connects} ' "$WEB/a/x" "$WEB/a/x")" = '401/1 401/0 ' ]
}

@test "the realm's name stands in WWW-Authenticate" {
  start_gateway 'realm_auth_realm "the shop";'
  expect 401 /a/x
  answer_has 'WWW-Authenticate: Key realm="the shop"'
}

@test "an error_page of the user takes the place of the body" {
  start_people
  start_nginx "location / { return 204; }
    error_page 401 /login.html;
    error_page 403 =302 @away;
    location = /login.html { root $DIR; }
    location @away { return 302 /elsewhere; }
    location /a/ {
      realm_auth on;
      realm_auth_identity realm:us:$PROD;
      realm_auth_require_group none;
    }"
  echo 'please log in' >"$DIR/login.html"
  expect 401 /a/x
  [ "$(cat "$DIR/answer")" = 'please log in' ]
  answer_has 'WWW-Authenticate: Key'
  expect 302 -H "apikey: $SECRET" /a/x
  answer_has 'Location: .*/elsewhere'
}

@test "satisfy any: another way in is a way in, and its upstream sees no consumer" {
  start_gateway 'satisfy any; allow 127.0.0.1; deny all;' "location /closed/ {
      satisfy any; deny all; realm_auth on; realm_auth_identity realm:us:$CP_B;
    }"
  expect 200 -H 'X-Consumer-ID: root' /a/x
  answer_has_no WWW-Authenticate
  upstream_did_not_see root
  [[ $(logged) == '200|missing|'* ]]
  expect 200 -H "apikey: $SECRET" /a/x
  upstream_saw 'X-Consumer-Username: Alice'
  expect 401 /closed/x
  [ "$(message)" = 'No API key found in request' ]
  answer_has 'WWW-Authenticate: Key'
}

@test "an upstream's own 401 passes unchanged, whether the request had a key or was let in otherwise" {
  second=$(free_port)
  start_people
  start_nginx "location / { return 204; }
    location /a/ {
      realm_auth on;
      realm_auth_identity realm:us:$PROD;
      satisfy any;
      allow all;
      proxy_pass http://127.0.0.1:$second;
    }" "server { listen 127.0.0.1:$second; return 401 theirs; }"
  expect 401 -H "apikey: $SECRET" /a/x
  [ "$(cat "$DIR/answer")" = theirs ]
  expect 401 /a/x
  [ "$(cat "$DIR/answer")" = theirs ]
  answer_has_no WWW-Authenticate
}

@test "a gRPC client is refused in gRPC's way" {
  second=$(free_port)
  start_people
  start_nginx "location / { return 204; }" "server {
      listen 127.0.0.1:$second http2;
      location / {
        realm_auth on;
        realm_auth_identity realm:us:$PROD;
        grpc_pass 127.0.0.1:1;
      }
    }"
  WEB="http://127.0.0.1:$second"
  expect 401 --http2-prior-knowledge -X POST -H 'Content-Type: application/grpc' /a.b/C
  answer_has 'grpc-status: 16'
  answer_has 'grpc-message: Unauthenticated'
  answer_has 'content-type: application/grpc'
  [ ! -s "$DIR/answer" ]
}
