#!/usr/bin/env bats
# The NGINX module: keys in requests become consumers, or answers that say no.
# shellcheck disable=SC2154 # bats sets $status and $output

load nginx_common

@test "a key in the header is let in, another one and none are answered 401" {
  start_control
  start_agent edge "$CP_A"
  realm=$(make_realm prod "$CP_A")
  secret=$(make_key "$realm" "$(make_consumer "$realm" Alice)")
  start_nginx "location / { return 204; }
    location /in { realm_auth on; realm_auth_identity realm:us:$realm cp; alias $DIR/; }"
  echo let-in >"$DIR/page"
  get -H "apikey: $secret" /in/page
  [ "$status" = 200 ]
  [ "$(cat "$DIR/body")" = let-in ]
  get -H "apikey: wrong" /in/page
  [ "$status" = 401 ]
  grep -q '"message":"Unauthorized"' "$DIR/body"
  get /in/page
  [ "$status" = 401 ]
  grep -q '"message":"No API key found in request"' "$DIR/body"
}
