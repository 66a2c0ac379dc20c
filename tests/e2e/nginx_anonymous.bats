#!/usr/bin/env bats
# The NGINX module: the consumer that stands in for callers without a valid key.
# shellcheck disable=SC2034,SC2154 # the helpers read and set variables

load nginx_common

own() { api POST "/v2/control-planes/$CP_A/core-entities/consumers?wait=applied" "$1" | jq -er .id; }

@test "any failure of a key goes on as the anonymous consumer, by username and by id" {
  start_people
  start_echo
  nobody=$(own '{"username":"nobody","custom_id":"none"}')
  common="realm_auth on; realm_auth_identity realm:us:$PROD; proxy_pass http://$UPSTREAM;"
  start_nginx "realm_auth_anonymous nobody;
    location / { return 204; }
    location /name { $common }
    location /id { realm_auth_anonymous $nobody; $common }
    location /off { realm_auth_anonymous off; $common }"
  for path in name id; do
    for key in 'Accept: */*' 'apikey: wrong' 'apikey;'; do
      expect 200 -H "$key" -H 'X-Credential-Identifier: root' -H 'X-Anonymous-Consumer: false' "/$path"
      upstream_saw "X-Consumer-ID: $nobody"
      upstream_saw 'X-Consumer-Username: nobody'
      upstream_saw 'X-Consumer-Custom-ID: none'
      upstream_saw 'X-Anonymous-Consumer: true'
      upstream_did_not_see 'root|false|X-Credential|X-Consumer-Groups'
      answer_has_no WWW-Authenticate
      [[ $(logged) == "200|anonymous|$nobody|nobody|none|-|-|-|"* ]]
    done
    expect 200 -H 'apikey: a' -H 'apikey: b' "/$path"
    upstream_saw 'X-Anonymous-Consumer: true'
  done
  expect 200 -H "apikey: $SECRET" /name
  upstream_saw 'X-Consumer-Username: Alice'
  upstream_did_not_see X-Anonymous-Consumer
  expect 401 /off
}

@test "an anonymous consumer that does not exist is a 500 that says so, until it does" {
  start_gateway "realm_auth_anonymous 'no\"b<dy';"
  expect 500 /a/x
  [ "$(message)" = "anonymous consumer no\"b<dy is configured but doesn't exist" ]
  answer_has_no WWW-Authenticate
  [[ $(logged) == '500|no_anonymous|-|'* ]]
  expect 500 -H 'Accept: text/html' /a/x
  grep -qF "<p>anonymous consumer no&quot;b&lt;dy is configured but doesn't exist.</p>" "$DIR/answer"
  expect 200 -H "apikey: $SECRET" /a/x
  nobody=$(own '{"username":"no\"b<dy"}')
  until_true stands_in "$nobody"
  api DELETE "/v2/control-planes/$CP_A/core-entities/consumers/$nobody?wait=applied"
  expect 500 /a/x
}

stands_in() { get /a/x && [ "$status" = 200 ] && upstream_saw "X-Consumer-ID: $1"; }

@test "an anonymous consumer that is replaced by another of its name is followed" {
  start_gateway 'realm_auth_anonymous nobody;'
  first=$(own '{"username":"nobody"}')
  stands_in "$first"
  api DELETE "/v2/control-planes/$CP_A/core-entities/consumers/$first?wait=applied"
  second=$(own '{"username":"nobody"}')
  stands_in "$second"
}

@test "a realm's consumer is no anonymous one, a required group is required, and a failing store stays a 500" {
  start_people
  start_echo
  own '{"username":"nobody"}'
  common="realm_auth on; realm_auth_identity realm:us:$PROD; proxy_pass http://$UPSTREAM;"
  start_nginx "location / { return 204; }
    location /realm { realm_auth_anonymous Alice; $common }
    location /group { realm_auth_anonymous nobody; realm_auth_require_group gold; $common }
    location /broken {
      realm_auth on; realm_auth_anonymous nobody; realm_auth_identity realm:eu:$PROD; proxy_pass http://$UPSTREAM;
    }"
  expect 500 /realm
  expect 403 /group
  [[ $(logged) == '403|forbidden|'* ]]
  expect 500 -H 'apikey: wrong' /broken
  [ "$(message)" = 'An unexpected error occurred' ]
}
