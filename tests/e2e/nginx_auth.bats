#!/usr/bin/env bats
# The NGINX module: where keys are looked for, and who is let in.
# shellcheck disable=SC2034,SC2154 # the helpers read and set variables

load nginx_common

@test "a key in the header is let in, and the upstream is told who it is" {
  start_gateway
  expect 200 -H "apikey: $SECRET" /a/x
  upstream_saw "X-Consumer-ID: $ALICE"
  upstream_saw "X-Consumer-Username: Alice"
  upstream_saw "X-Consumer-Custom-ID: c-1"
  upstream_saw "X-Credential-Identifier: $KEY_ID"
  upstream_saw "X-Consumer-Groups: gold, silver"
  upstream_did_not_see X-Anonymous-Consumer
  expect 401 -H "apikey: wrong" /a/x
  [ "$(message)" = Unauthorized ]
  expect 401 /a/x
  [ "$(message)" = 'No API key found in request' ]
}

@test "headers that a client forges are cleared, repeated ones and ones with underscores too" {
  start_gateway '' '' 'underscores_in_headers on; ignore_invalid_headers off;'
  expect 200 -H "apikey: $SECRET" -H 'X-Consumer-ID: root' -H 'x-consumer-id: root2' -H 'X_Consumer_ID: root3' \
    -H 'X.Consumer.ID: root4' -H 'X-Consumer_Username: root' -H 'X-Anonymous-Consumer: true' -H 'X_CONSUMER_GROUPS: admin' \
    -H 'X-Credential-Identifier: root' -H 'X-Consumer-Custom-ID: root' -H 'X-Other: stays' -H 'X-Other: twice' /a/x
  upstream_did_not_see root
  upstream_did_not_see admin
  upstream_did_not_see anonymous
  upstream_saw 'X-Other: stays'
  upstream_saw 'X-Other: twice'
  [ "$(grep -ic '^x.consumer.id:' "$DIR/answer")" = 1 ]
}

@test "names are tried in order, and of each name header, then query, then body" {
  start_gateway 'realm_auth_key_names one Two_x; realm_auth_key_in_body on;'
  expect 200 -H "one: $SECRET" -H 'two-x: wrong' "/a/x?one=wrong"
  expect 401 -H 'one: wrong' "/a/x?one=$SECRET"
  expect 200 -d one=wrong "/a/x?one=$SECRET&Two_x=wrong"
  expect 200 -d "one=$SECRET" -H 'two-x: wrong' /a/x
  expect 200 -H "TWO-X: $SECRET" /a/x
  expect 200 "/a/x?Two_x=$SECRET"
  expect 401 "/a/x?two_x=$SECRET"
  [ "$(message)" = 'No API key found in request' ]
  expect 200 "/a/x?%6fne=$SECRET"
  expect 401 "/a/x?one&Two_x=wrong"
  [ "$(message)" = Unauthorized ]
}

@test "an empty key counts as missing and ends the search" {
  start_gateway 'realm_auth_key_names one two;'
  expect 401 -H 'one;' -H "two: $SECRET" /a/x
  [ "$(message)" = 'No API key found in request' ]
  expect 401 "/a/x?one=&two=$SECRET"
  [ "$(message)" = 'No API key found in request' ]
  expect 200 "/a/x?one&two=$SECRET"
}

@test "a key that comes twice is refused as duplicate, wherever" {
  start_gateway 'realm_auth_key_in_body on;'
  expect 401 -H "apikey: $SECRET" -H "apikey: $SECRET" /a/x
  [ "$(message)" = 'Duplicate API key found' ]
  expect 401 "/a/x?apikey=$SECRET&apikey=$SECRET"
  [ "$(message)" = 'Duplicate API key found' ]
  expect 401 "/a/x?apikey&apikey=$SECRET"
  [ "$(message)" = 'Duplicate API key found' ]
  expect 401 -d "apikey=$SECRET&apikey=$SECRET" /a/x
  [ "$(message)" = 'Duplicate API key found' ]
  expect 401 -H 'Content-Type: application/json' -d "{\"apikey\":[\"$SECRET\"]}" /a/x
  [ "$(message)" = 'Duplicate API key found' ]
  expect 200 -H "apikey: $SECRET" "/a/x?apikey=a&apikey=b"
}

@test "each place can be switched off" {
  start_gateway 'realm_auth_key_in_header off; realm_auth_key_in_query off; realm_auth_key_in_body on;'
  expect 401 -H "apikey: $SECRET" /a/x
  expect 401 "/a/x?apikey=$SECRET"
  expect 200 -d "apikey=$SECRET" /a/x
}

@test "a body is not looked into unless that is switched on" {
  start_gateway
  expect 401 -d "apikey=$SECRET" /a/x
}

@test "identity sources are asked in order, and none but those" {
  start_people
  start_echo
  other=$(make_realm other "$CP_A")
  secret=$(make_key "$other" "$(make_consumer "$other" Olga)")
  own=$(api POST "/v2/control-planes/$CP_A/core-entities/consumers" '{"username":"Izumi"}' | jq -er .id)
  api POST "/v2/control-planes/$CP_A/core-entities/consumers/$own/key-auth?wait=applied" "{\"key\":\"$SECRET\"}"
  common="realm_auth on; proxy_pass http://$UPSTREAM;"
  start_nginx "location /realm-cp { realm_auth_identity realm:us:$PROD cp; $common }
    location /cp-realm { realm_auth_identity cp realm:$PROD; $common }
    location /default { $common }
    location /nowhere { realm_auth_identity realm:eu:$PROD; $common }"
  expect 200 -H "apikey: $SECRET" /realm-cp
  upstream_saw 'X-Consumer-Username: Alice'
  expect 200 -H "apikey: $SECRET" /cp-realm
  upstream_saw 'X-Consumer-Username: Izumi'
  expect 200 -H "apikey: $SECRET" /default
  upstream_saw 'X-Consumer-Username: Izumi'
  expect 401 -H "apikey: $secret" /realm-cp
  expect 500 -H "apikey: $SECRET" /nowhere
  [ "$(message)" = 'An unexpected error occurred' ]
}

@test "a preflight request passes without a key when it may, and carries no forged consumer" {
  start_gateway 'realm_auth_run_on_preflight off;' "location /strict/ { realm_auth on; proxy_pass http://127.0.0.1:1; }"
  expect 200 -X OPTIONS -H 'X-Consumer-ID: root' /a/x
  upstream_did_not_see root
  [[ $(logged) == '200|preflight|'* ]]
  expect 401 /a/x
  expect 401 -X OPTIONS /strict/x
}

@test "a group that is required is the realm's or the consumer's, else 403" {
  start_people
  start_echo
  common="realm_auth on; realm_auth_identity realm:us:$PROD; proxy_pass http://$UPSTREAM;"
  start_nginx "realm_auth_require_group platinum;
    location / { return 204; }
    location /realms { realm_auth_require_group gold; $common }
    location /own { realm_auth_require_group platinum silver; $common }
    location /inherited { $common }
    location /off { realm_auth_require_group off; $common }"
  expect 200 -H "apikey: $SECRET" /realms
  expect 200 -H "apikey: $SECRET" /own
  expect 403 -H "apikey: $SECRET" /inherited
  [ "$(message)" = 'You cannot consume this service' ]
  answer_has_no WWW-Authenticate
  [[ $(logged) == "403|forbidden|$ALICE|Alice|"* ]]
  expect 200 -H "apikey: $SECRET" /off
  api PATCH "/v1/realms/$PROD/consumers/$ALICE?wait=applied" '{"consumer_groups":["platinum"]}'
  expect 200 -H "apikey: $SECRET" /inherited
}

@test "a deleted key and an expired one are refused at once" {
  start_gateway
  expect 200 -H "apikey: $SECRET" /a/x
  api DELETE "/v1/realms/$PROD/consumers/$ALICE/keys/$KEY_ID?wait=applied"
  expect 401 -H "apikey: $SECRET" /a/x
  expired=$(api POST "/v1/realms/$PROD/consumers/$ALICE/keys?wait=applied" \
    "{\"type\":\"new\",\"expires_at\":\"$(date -u -d '+2 seconds' +%FT%TZ)\"}" | jq -er .secret)
  expires_now() { get -H "apikey: $expired" /a/x && [ "$status" = 401 ]; }
  until_true expires_now
  [ "$(message)" = Unauthorized ]
}

@test "keep-alive requests are each authenticated by their own key" {
  start_gateway
  curl -sS -o "$DIR/one" -w '%{http_code} ' -H "apikey: $SECRET" "$WEB/a/1" --next \
    -sS -o "$DIR/two" -w '%{http_code} ' "$WEB/a/2" --next \
    -sS -o "$DIR/three" -w '%{http_code} %{num_connects}' -H "apikey: $SECRET" "$WEB/a/3" >"$DIR/codes"
  [ "$(cat "$DIR/codes")" = '200 401 200 0' ]
}
