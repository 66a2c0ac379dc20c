#!/usr/bin/env bats
# The NGINX module among NGINX's other parts: limits, logs, maps, subrequests, HTTP/2, gRPC.
# shellcheck disable=SC2034,SC2154 # the helpers read and set variables

load nginx_common

@test "limit_req and limit_conn count by consumer, each for itself" {
  start_gateway 'limit_req zone=by_consumer burst=2 nodelay; limit_req_status 429; limit_conn connections 100;' '' \
    'limit_req_zone $realm_consumer_id zone=by_consumer:1m rate=1r/m; limit_conn_zone $realm_consumer_id zone=connections:1m;'
  bob=$(api POST "/v1/realms/$PROD/consumers" '{"username":"Bob"}' | jq -er .id)
  second=$(make_key "$PROD" "$bob")
  another=$(make_key "$PROD" "$ALICE")
  for _ in 1 2; do expect 200 -H "apikey: $SECRET" /a/x; done
  expect 200 -H "apikey: $another" /a/x
  expect 429 -H "apikey: $SECRET" /a/x
  [[ $(logged) == "429|found|$ALICE|Alice|"* ]]
  expect 429 -H "apikey: $another" /a/x
  for _ in 1 2 3; do expect 200 -H "apikey: $second" /a/x; done
  expect 429 -H "apikey: $second" /a/x
  for _ in {1..5}; do expect 401 /a/x; done
}

@test "a limit by group takes a map of the consumer's groups" {
  start_gateway 'limit_req zone=gold; limit_req zone=bronze; limit_req_status 429;' '' \
    'map $realm_consumer_groups $gold { default ""; ~(^|,\ )gold(,|$) $realm_consumer_id; }
    map $realm_consumer_groups $bronze { default ""; ~(^|,\ )bronze(,|$) $realm_consumer_id; }
    limit_req_zone $gold zone=gold:1m rate=1000r/s; limit_req_zone $bronze zone=bronze:1m rate=1r/m;'
  for _ in 1 2 3; do expect 200 -H "apikey: $SECRET" /a/x; done
  api PATCH "/v1/realms/$PROD/consumers/$ALICE?wait=applied" '{"consumer_groups":["bronze"]}'
  expect 200 -H "apikey: $SECRET" /a/x
  expect 429 -H "apikey: $SECRET" /a/x
}

@test "variables tell who asked, in the log, in headers, and in routing" {
  start_people
  start_echo
  start_nginx "location / { return 204; }
    location /a/ {
      realm_auth on;
      realm_auth_identity realm:us:$PROD;
      add_header Who \$realm_consumer_username always;
      set \$early \$realm_consumer_username;
      add_header Early \"before: \$early\" always;
      proxy_pass http://\$route;
    }" "map \$realm_consumer_username \$route { Alice $UPSTREAM; default 127.0.0.1:1; }"
  expect 200 -H "apikey: $SECRET" /a/x
  answer_has 'Who: Alice'
  answer_has 'Early: before: '
  [[ $(logged) == "200|found|$ALICE|Alice|c-1|$KEY_ID|gold, silver|prod|"* ]]
  [[ $(logged | sed 's/.*|//') =~ ^[0-9]+$ ]]
  expect 401 -H "apikey: wrong" /a/x
  [[ $(logged) == '401|unknown|-|-|-|-|-|-|'* ]]
  expect 401 -H "apikey: a" -H "apikey: b" /a/x
  [[ $(logged) == '401|duplicate|-|'* ]]
  expect 204 /
  [[ $(logged) == '204|-|-|-|-|-|-|-|'* ]]
  [[ $(logged | sed 's/.*|//') =~ ^[0-9]+$ ]]
}

@test "subrequests: auth_request, include and mirror see their own consumer" {
  TELLS_SECRETS='mirror.log:' # written by what is behind the mirror, of a location that hides nothing
  start_people
  start_echo
  mirror=$(free_port)
  common="realm_auth on; realm_auth_identity realm:us:$PROD;"
  start_nginx "location / { return 204; }
    location = /check { internal; $common proxy_pass http://$UPSTREAM/check; proxy_pass_request_body off; }
    location /checked/ { auth_request /check; auth_request_set \$who \$realm_consumer_username; add_header Who \$who; proxy_pass http://$UPSTREAM; }
    location /page/ { ssi on; ssi_types *; root $DIR; }
    location /fragment { $common proxy_pass http://$UPSTREAM; }
    location /mirrored/ { $common mirror /mirror; proxy_pass http://$UPSTREAM; }
    location = /mirror { internal; $common realm_auth_require_group silver; proxy_pass http://127.0.0.1:$mirror/mirror; }
    location /outer/ { $common realm_auth_hide_credentials on; ssi on; ssi_types *; root $DIR; }" \
    "log_format mirror '\$http_x_consumer_username|\$http_apikey';
    server { listen 127.0.0.1:$mirror; access_log $DIR/mirror.log mirror; return 204; }"

  expect 200 -H "apikey: $SECRET" /checked/x
  expect 401 /checked/x
  answer_has 'WWW-Authenticate: Key'
  expect 401 -H "apikey: wrong" /checked/x

  mkdir "$DIR/page" "$DIR/outer"
  echo '<!--# include virtual="/fragment" -->' >"$DIR/page/x"
  cp "$DIR/page/x" "$DIR/outer/x"
  expect 200 -H "apikey: $SECRET" /page/x
  upstream_saw 'X-Consumer-Username: Alice'
  expect 200 /page/x
  upstream_did_not_see '^(X-Consumer|Host)'
  grep -q 'No API key found in request' "$DIR/answer"
  expect 200 -H "apikey: $SECRET" /outer/x
  upstream_saw 'X-Consumer-Username: Alice'
  upstream_saw 'X-Consumer-ID: .*'
  [ "$(grep -c X-Consumer-ID "$DIR/answer")" = 1 ]

  expect 200 -H "apikey: $SECRET" -H 'X-Consumer-Username: root' /mirrored/x
  until_true test -s "$DIR/mirror.log"
  [ "$(cat "$DIR/mirror.log")" = "Alice|$SECRET" ]
}

@test "a cache gives one consumer's answer to another, unless its key names the consumer" {
  start_people
  start_echo
  bob=$(make_consumer "$PROD" Bob)
  second=$(make_key "$PROD" "$bob")
  common="realm_auth on; realm_auth_hide_credentials on; realm_auth_identity realm:us:$PROD; proxy_cache answers;
    proxy_cache_valid 200 1h; proxy_pass http://$UPSTREAM;"
  start_nginx "location / { return 204; }
    location /shared/ { $common }
    location /own/ { $common proxy_cache_key \$scheme\$proxy_host\$request_uri|\$realm_consumer_id; }" \
    "proxy_cache_path $DIR/cache keys_zone=answers:1m;"
  expect 200 -H "apikey: $SECRET" /shared/x
  expect 200 "/shared/x?apikey=$second"
  upstream_saw 'X-Consumer-Username: Alice' # the trap
  expect 200 "/own/x?apikey=$SECRET"
  expect 200 "/own/x?apikey=$second"
  upstream_saw 'X-Consumer-Username: Bob'
  expect 200 -H "apikey: $SECRET" /own/x
  upstream_saw 'X-Consumer-Username: Alice'
  expect 401 /own/x
  api DELETE "/v1/realms/$PROD/consumers/$ALICE?force=true&wait=applied"
  expect 401 -H "apikey: $SECRET" /own/x
  ! grep -raF -e "$SECRET" -e "$second" "$DIR/cache" >&2
}

@test "hiding in the location of auth_request alone leaves the key in the request that asked" {
  start_people
  start_echo
  check="internal; realm_auth on; realm_auth_hide_credentials on; realm_auth_identity realm:us:$PROD; proxy_pass http://$UPSTREAM;"
  start_nginx "location / { return 204; }
    location = /check { $check }
    location /trap/ { auth_request /check; proxy_pass http://$UPSTREAM; }
    location /right/ {
      realm_auth on; realm_auth_hide_credentials on; realm_auth_identity realm:us:$PROD;
      auth_request /check; proxy_pass http://$UPSTREAM;
    }"
  expect 200 -H "apikey: $SECRET" /trap/x
  upstream_saw "apikey: $SECRET" # the trap: the subrequest's headers are its own
  upstream_did_not_see '^X-Consumer'
  expect 401 "/trap/x?apikey=$SECRET" # and so is its query: none
  expect 200 "/right/x?apikey=$SECRET"
  upstream_did_not_see '[?&]apikey'
  upstream_saw 'X-Consumer-Username: Alice'
}

@test "HTTP/2: header, query and body, and a body without a length" {
  second=$(free_port)
  start_people
  start_echo
  start_nginx "location / { return 204; }" "server {
      listen 127.0.0.1:$second http2;
      access_log $DIR/access.log realm;
      location / {
        realm_auth on; realm_auth_identity realm:us:$PROD; realm_auth_key_in_body on; realm_auth_hide_credentials on;
        proxy_pass http://$UPSTREAM;
      }
    }"
  WEB="http://127.0.0.1:$second"
  h2() { local code=$1; shift; expect "$code" --http2-prior-knowledge "$@"; }
  h2 200 -H "apikey: $SECRET" -H 'x-consumer-id: root' /x
  upstream_saw "X-Consumer-ID: $ALICE"
  upstream_did_not_see root
  upstream_did_not_see '^apikey'
  h2 200 "/x?apikey=$SECRET"
  h2 200 -d "apikey=$SECRET&b=1" /x
  [ "$(tail -n 1 "$DIR/answer")" = b=1 ]
  printf 'apikey=%s&b=2' "$SECRET" >"$DIR/form"
  h2 200 -T - -X POST -H 'Content-Type: application/x-www-form-urlencoded' /x <"$DIR/form"
  [ "$(tail -n 1 "$DIR/answer")" = b=2 ]
  h2 401 /x
  h2 401 -H 'apikey: a' -H 'apikey: b' /x
  [ "$(message)" = 'Duplicate API key found' ]
}

@test "grpc_pass carries the consumer to the upstream" {
  front=$(free_port)
  back=$(free_port)
  start_people
  start_echo
  start_nginx "location / { return 204; }" "server {
      listen 127.0.0.1:$front http2;
      location / { realm_auth on; realm_auth_identity realm:us:$PROD; grpc_pass 127.0.0.1:$back; }
    }
    server { listen 127.0.0.1:$back http2; location / { proxy_pass http://$UPSTREAM; } }"
  WEB="http://127.0.0.1:$front"
  grpc() { get --http2-prior-knowledge -X POST -H 'Content-Type: application/grpc' -H 'TE: trailers' "$@" /a.b/C; }
  grpc -H "apikey: $SECRET" -d message
  [ "$status" = 200 ]
  upstream_saw "X-Consumer-ID: $ALICE"
  [ "$(tail -n 1 "$DIR/answer")" = message ]
  grpc -H "apikey: wrong"
  [ "$status" = 401 ]
  answer_has 'grpc-status: 16'
}

