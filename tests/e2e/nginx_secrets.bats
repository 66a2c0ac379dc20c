#!/usr/bin/env bats
# The NGINX module: what it hides is seen by no upstream, in no variable and in no log. Each test ends with a search of all
# logs, at level debug, for all secrets that were made (common.bash).
# shellcheck disable=SC2016,SC2030,SC2031,SC2034,SC2154 # NGINX's variables; the helpers read and set variables

load nginx_common

# All that an access log can tell about a request.
NGINX_LOG='$status|$realm_auth_status|$request|$request_uri|$args|$query_string|$arg_apikey|$arg_x_key|$http_apikey|$http_x_key|$request_body|$http_referer|$upstream_addr'

# start_hiding [DIRECTIVES [LOCATIONS [HTTP_LINES]]]: a location /a/ that hides keys of two names.
start_hiding() {
  start_gateway "realm_auth_hide_credentials on; realm_auth_key_names apikey x-key; ${1:-}" "${2:-}" "${3:-}"
}

# raw TEXT: bytes to NGINX as they are; the answer is in $DIR/answer.
raw() {
  (
    trap '' PIPE # it may be refused before it is read
    exec 7<>"/dev/tcp/127.0.0.1/$NGINX_PORT"
    printf '%b' "$1" >&7
    cat <&7
  ) >"$DIR/answer" 2>"$DIR/raw.err" || true
}

nothing_told() { ! grep -aF -- "$SECRET" "$DIR/answer" >&2; }

@test "a key that is the only query argument is in no log, whatever the answer" {
  start_hiding 'limit_except GET OPTIONS HEAD POST { deny all; } client_max_body_size 10;' \
    'location /down/ { realm_auth on; realm_auth_hide_credentials on; realm_auth_identity realm:us:00000000-0000-0000-0000-000000000001; proxy_pass http://127.0.0.1:1; }'
  expect 200 "/a/x?apikey=$SECRET"
  [[ $(logged) == '200|found|GET /a/x?apikey=*** HTTP/1.1|/a/x|||-|-|-|-|-|-|'* ]]
  [ "$(head -n 1 "$DIR/answer")" = 'GET /a/x' ]
  expect 403 -X DELETE "/a/x?apikey=$SECRET"
  expect 413 -d 'more than ten bytes' "/a/x?apikey=$SECRET"
  expect 401 "/a/x?apikey=$SECRET&apikey=$SECRET"
  expect 401 "/a/x?apikey=&x-key=$SECRET"
  get "/down/x?apikey=$SECRET"
  TELLS_SECRETS='access.log:.*GET /other' # which does not hide: $request alone is without the key
  expect 204 "/other?apikey=$SECRET"
}

@test "an upstream that fails is logged without the key, in its URL and in the referrer" {
  start_people
  common="realm_auth on; realm_auth_identity realm:us:$PROD; proxy_pass http://127.0.0.1:1;"
  start_nginx "location / { return 204; }
    location /a/ { realm_auth_hide_credentials on; $common }
    location /shown/ { $common }"
  TELLS_SECRETS='access.log:.*GET /shown/' # which does not hide: $request alone is without the key
  for path in a shown; do
    expect 502 -H "Referer: http://gw/x?b=1&apikey=$SECRET" "/$path/x?c=1&apikey=$SECRET"
    expect 502 -H "apikey: $SECRET" "/$path/x?apikey"
  done
  grep -q 'connect() failed.*upstream: "http://127.0.0.1:1/a/x?c=1", .*referrer: "http://gw/x?b=1"' "$DIR/error.log"
  grep -q 'connect() failed.*upstream: "http://127.0.0.1:1/shown/x?c=1&apikey=\*\*\*", .*referrer: "http://gw/x?b=1&apikey=\*\*\*"' "$DIR/error.log"
}

@test "a preflight that passes without a look has no key in it" {
  start_hiding 'realm_auth_run_on_preflight off; realm_auth_key_in_body on;'
  expect 200 -X OPTIONS -H "x-key: $SECRET" "/a/x?apikey=$SECRET"
  nothing_told
  [[ $(logged) == '200|preflight|OPTIONS /a/x?apikey=*** HTTP/1.1|/a/x|||'* ]]
  expect 200 -X OPTIONS -d "a=1&apikey=$SECRET" /a/x
  nothing_told
  upstream_saw 'a=1'
}

@test "duplicates, second names and anonymous callers reach the upstream without any key" {
  start_hiding 'realm_auth_key_in_body on; realm_auth_anonymous nobody;'
  api POST "/v2/control-planes/$CP_A/core-entities/consumers?wait=applied" '{"username":"nobody"}'
  without() { expect 200 "$@"; nothing_told; upstream_did_not_see '(^|[?&"])(apikey|x.key)'; }
  without -H "apikey: $SECRET" -H "apikey: $SECRET" /a/x
  upstream_saw 'X-Anonymous-Consumer: true'
  without "/a/x?apikey=$SECRET&b=1&apikey=$SECRET"
  [ "$(head -n 1 "$DIR/answer")" = 'GET /a/x?b=1' ]
  without -H "apikey: $SECRET" -H "X-Key: $SECRET" "/a/x?x-key=$SECRET&%61pikey=$SECRET"
  upstream_saw 'X-Consumer-Username: Alice'
  without -H "x-key: $SECRET" -d "apikey=$SECRET&x-key=$SECRET&apikey=wrong" /a/x
  without -H 'Content-Type: application/json' -d "{\"a\":1,\"x-key\":\"$SECRET\",\"apikey\":[\"$SECRET\"]}" /a/x
  upstream_saw '\{"a":1\}'
  without -H "apikey: wrong-$SECRET" /a/x
}

@test "a header that an upstream may take for the key's is hidden, too, and not logged when NGINX ignores it" {
  start_people
  start_echo
  common="realm_auth on; realm_auth_identity realm:us:$PROD; realm_auth_hide_credentials on; realm_auth_key_names x-api-key; proxy_pass http://$UPSTREAM;"
  second=$(free_port)
  start_nginx "location / { $common }" "server { listen 127.0.0.1:$second; underscores_in_headers on; location / { $common } }"
  expect 200 -H "x-api-key: $SECRET" -H "X_Api-Key: $SECRET" /x
  nothing_told
  WEB="http://127.0.0.1:$second"
  expect 200 -H "x-api-key: $SECRET" -H "X_Api-Key: $SECRET" -H "x_api_key: $SECRET" /x
  nothing_told
}

@test "a body that says JSON and is none does not carry a key to the upstream" {
  start_hiding 'realm_auth_key_in_body on;'
  broken() { expect "$1" -H "apikey: $SECRET" -H 'Content-Type: application/json' -d "$2" /a/x; }
  broken 400 "{\"apikey\":\"$SECRET\""
  broken 400 "{\"a\":1,,\"\\u0061pikey\":\"$SECRET\"}"
  broken 400 "{'X-KEY':'$SECRET'}"
  broken 200 '{"a":'
  broken 200 '[1]'
}

@test "no variable of any phase of a location has the key" {
  start_people
  start_echo
  start_nginx "location / { return 204; }
    location /a/ {
      realm_auth on; realm_auth_hide_credentials on; realm_auth_identity realm:us:$PROD;
      set \$seen \"\$request|\$request_uri|\$args|\$arg_apikey|\$http_apikey|\$http_referer|\$is_args\";
      if (\$arg_apikey) { return 418; }
      add_header Seen \$seen always;
      add_header Later \"\$request|\$request_uri|\$args|\$arg_apikey|\$http_apikey|\$http_referer|\$is_args\" always;
      proxy_pass http://$UPSTREAM;
    }
    location /return/ {
      realm_auth on; realm_auth_hide_credentials on;
      return 302 http://elsewhere\$request_uri;
    }
    location /rewritten/ {
      realm_auth on; realm_auth_hide_credentials on; realm_auth_identity realm:us:$PROD;
      rewrite ^ /a/y?z=1 last;
    }
    location /fixed/ {
      realm_auth on; realm_auth_hide_credentials on; realm_auth_identity realm:us:$PROD;
      rewrite ^/fixed/(.*) /x?apikey=\$1? break;
      proxy_pass http://$UPSTREAM;
    }"
  for request in "/a/x?apikey=$SECRET" "/rewritten/x?apikey=$SECRET" "/a/x?b=2&apikey=$SECRET"; do
    expect 200 -H "Referer: http://gw/?apikey=$SECRET" "$request"
    upstream_saw 'X-Consumer-Username: Alice'
    nothing_told
    ! grep -aF "$SECRET" "$DIR/headers" >&2 || false
  done
  expect 302 "/return/x?apikey=$SECRET&b=1"
  answer_has 'Location: http://elsewhere/return/x\?b=1'
  TELLS_SECRETS='/fixed/|http script capture' # it is in the path, which nobody calls a key
  expect 200 "/fixed/$SECRET"
  upstream_saw 'X-Consumer-Username: Alice'
  [ "$(head -n 1 "$DIR/answer")" = 'GET /x' ]
}

@test "no variable of the server's phases has the key, and a location that does not hide it gets it as it came" {
  start_people
  start_echo
  common="realm_auth on; realm_auth_identity realm:us:$PROD;"
  start_nginx "set \$early \"\$request|\$request_uri|\$args|\$arg_apikey|\$http_apikey|\$http_authorization|\$http_referer\";
    if (\$http_user_agent = go) { return 302 http://elsewhere\$request_uri; }
    location / { return 204; }
    location /a/ {
      $common realm_auth_hide_credentials on; realm_auth_key_names apikey authorization;
      add_header Early \$early always; proxy_pass http://$UPSTREAM;
    }
    location /shown/ { $common proxy_pass http://$UPSTREAM; }
    location /open/ { proxy_pass http://$UPSTREAM; }"
  expect 200 -H "Referer: http://gw/?b=1&apikey=$SECRET" "/a/x?apikey=$SECRET"
  ! grep -aF "$SECRET" "$DIR/headers" >&2 || false
  nothing_told
  get -A go "/a/x?apikey=$SECRET&b=1"
  answer_has 'Location: http://elsewhere/a/x\?b=1'
  TELLS_SECRETS='access.log:.*GET /(shown|open)/' # which do not hide: $request alone is without the key
  for path in shown open; do
    expect 200 -H "Referer: http://gw/?b=1&apikey=$SECRET" -H "apikey: $SECRET" -u a:b "/$path/x?a=1&apikey=$SECRET&c=2"
    [ "$(head -n 1 "$DIR/answer")" = "GET /$path/x?a=1&apikey=$SECRET&c=2" ]
    upstream_saw "apikey: $SECRET"
    upstream_saw 'Authorization: Basic YTpi'
    upstream_saw "Referer: http://gw/\?b=1&apikey=$SECRET"
  done
}

@test "requests that NGINX refuses by itself are logged without the key" {
  start_hiding
  for request in "GET /a/x?apikey=$SECRET\r\n" "GET /a/x?apikey=$SECRET HTTP/9.9\r\n\r\n" "GET /a/x?b=1&apikey=$SECRET HTTP/1.1\r\n\r\n" \
    "GET /a/x?apikey=$SECRET HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n" "GET /a/x?apikey=$SECRET HTTP/1.1\r\nHost: a\r\napi key: $SECRET\r\n\r\n" \
    "GET /a/x?apikey=$SECRET  y HTTP/1.1\r\n\r\n" "GET /a/x?apikey=x $SECRET HTTP/1.1\r\nHost: a\r\n\r\n" \
    "GET /a/x?apikey=$SECRET HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n" "GET /a/%%0?apikey=$SECRET HTTP/1.1\r\nHost: a\r\n\r\n" \
    "GET /a/x?apikey=$SECRET\"q HTTP/1.1\r\nHost: a b\r\n\r\n" "GET http:///x?apikey=$SECRET HTTP/1.1\r\nHost: a\r\n\r\n"; do
    raw "$request"
  done
  raw "GET /a/x?apikey=$SECRET$(head -c 9000 /dev/zero | tr '\0' y) HTTP/1.1\r\nHost: a\r\n\r\n"
  grep -q '414' "$DIR/answer"
  raw "GET /a/x?apikey=$SECRET HTTP/1.1\r\nHost: a\r\napikey: $SECRET$(head -c 9000 /dev/zero | tr '\0' y)\r\n\r\n"
  until_true test "$(wc -l <"$DIR/access.log")" -ge 9
  grep -q 'client sent' "$DIR/error.log"
}

@test "a request that NGINX refuses comes to an error page without the key, named or not" {
  start_people
  second=$(free_port)
  server() {
    echo "error_page 400 414 494 $1;
      location $1 { return 200 \"page \$request_uri \$args \$http_apikey \$http_referer\"; }
      location / { realm_auth on; realm_auth_hide_credentials on; realm_auth_identity realm:us:$PROD; return 204; }"
  }
  start_nginx "$(server @page)" "server { listen 127.0.0.1:$second; access_log $DIR/access.log realm; $(server /page) }"
  head="GET /x?apikey=$SECRET HTTP/1.1\r\nHost: a\r\napikey: $SECRET\r\nReferer: http://gw/?apikey=$SECRET\r\n"
  for NGINX_PORT in "$NGINX_PORT" "$second"; do
    for rest in 'Content-Length: x' 'Host: b' "a: $(head -c 9000 /dev/zero | tr '\0' y)"; do
      raw "$head$rest\r\n\r\n"
      grep -aq '^page ' "$DIR/answer"
      nothing_told
    done
    raw "GET /x?apikey=$SECRET$(head -c 9000 /dev/zero | tr '\0' y) HTTP/1.1\r\nHost: a\r\n\r\n"
    nothing_told
  done
}

@test "a body that does not come whole is not logged" {
  start_people
  start_echo
  start_nginx "client_body_timeout 1s; location / { return 204; }
    location /a/ {
      realm_auth on; realm_auth_hide_credentials on; realm_auth_identity realm:us:$PROD; realm_auth_key_in_body on;
      client_max_body_size 500; error_page 413 /page; error_page 400 @page; proxy_pass http://$UPSTREAM;
    }
    location @page { proxy_pass http://$UPSTREAM; }
    location /page { proxy_pass http://$UPSTREAM; }"
  head='POST /a/x HTTP/1.1\r\nHost: a\r\nContent-Type: application/x-www-form-urlencoded\r\n'
  raw "${head}Content-Length: 400\r\n\r\nb=1&apikey=$SECRET"
  until_true grep -q '^408|' "$DIR/access.log"
  printf '%b' "${head}Content-Length: 400\r\n\r\nb=1&apikey=$SECRET" >"/dev/tcp/127.0.0.1/$NGINX_PORT"
  until_true grep -qE '^4(00|99)\|' "$DIR/access.log"
  for chunk in zz 1ff; do
    raw "${head}Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n60\r\napikey=$SECRET&b=$(head -c 80 /dev/zero | tr '\0' y)\r\n$chunk\r\nyyyyy"
    nothing_told
  done
}

@test "what an upstream may take for the key is hidden: in any case, behind a semicolon, in a fragment" {
  start_echo
  start_hiding 'realm_auth_key_in_body on;' "location /shown/ { proxy_pass http://$UPSTREAM; }"
  for query in "APIKEY=$SECRET" "b=1;apikey=$SECRET" "b=1;c=2;%61pikey=$SECRET;d=3" "b=1&X-Key=$SECRET"; do
    expect 200 -H "apikey: $SECRET" -H "Referer: http://gw/?$query" -d "$query" "/a/x?$query"
    nothing_told
  done
  for uri in "/a/x#apikey=$SECRET" "/a/x?b=1#apikey=$SECRET" "/a/x#?c=1&apikey=$SECRET" "/a/x?#apikey=$SECRET"; do
    raw "GET $uri HTTP/1.1\r\nHost: a\r\napikey: $SECRET\r\nReferer: http://gw$uri\r\nConnection: close\r\n\r\n"
    grep -q '^X-Consumer-Username: Alice' "$DIR/answer"
    nothing_told
  done
  expect 200 -H "apikey: $SECRET" -H 'Content-Type: application/json' -d "{\"ApiKey\":\"$SECRET\",\"a\":1}" /a/x
  upstream_saw '\{"a":1\}'
  nothing_told
  expect 200 -H "apikey: $SECRET" -d 'a=1;b=2' '/a/x?a=1;b=2&c;d'
  [ "$(head -n 1 "$DIR/answer")" = 'POST /a/x?a=1;b=2&c;d' ]
  upstream_saw 'a=1;b=2'
  TELLS_SECRETS='access.log:.*GET /shown/' # which does not hide: $request alone is without the key
  expect 200 "/shown/x?b=1;apikey=$SECRET&APIKEY=2"
  [ "$(head -n 1 "$DIR/answer")" = "GET /shown/x?b=1;apikey=$SECRET&APIKEY=2" ]
}

@test "every error log is without keys: of a location, of syslog, of memory, after a reload with other names" {
  start_people
  perl -MIO::Socket::UNIX -e '
    my $s = IO::Socket::UNIX->new(Type => SOCK_DGRAM, Local => $ARGV[0]) or die; $| = 1;
    while ($s->recv(my $line, 65536) || 1) { print "$line\n" }' "$DIR/syslog" >"$DIR/syslog.log" 3>&- &
  PIDS+=($!)
  until_true test -S "$DIR/syslog"
  common="realm_auth on; realm_auth_hide_credentials on; realm_auth_identity realm:us:$PROD; proxy_pass http://127.0.0.1:1;"
  start_nginx "location / { return 204; }
    location /own/ { error_log $DIR/own.log debug; $common }
    location /syslog/ { error_log syslog:server=unix:$DIR/syslog error; $common }
    location /memory/ { error_log memory:1m debug; error_log stderr info; $common }
    location /off/ { realm_auth off; error_log $DIR/off.log info; proxy_pass http://127.0.0.1:1; }"
  TELLS_SECRETS='access.log:.*GET /off/' # which hides nothing: $request alone is without the key
  try() {
    for path in own syslog memory off; do
      expect 502 -H "$1: $SECRET" -H "Referer: http://gw/?$1=$SECRET" "/$path/x?$1=$SECRET"
      expect 502 "/$path/x?b&$1=$SECRET"
    done
  }
  syslog_told() { try apikey && grep -q 'connect() failed.*upstream: "http://127.0.0.1:1/syslog/x' "$DIR/syslog.log"; }
  until_true syslog_told # a datagram may be lost
  grep -q 'connect() failed.*upstream: "http://127.0.0.1:1/own/x?b"' "$DIR/own.log"
  grep -q 'connect() failed.*upstream: "http://127.0.0.1:1/off/x?b&apikey=\*\*\*"' "$DIR/off.log"
  before=$(pgrep -P "$NGINX_PID")
  sed -i 's/realm_auth on;/& realm_auth_key_names other;/' "$DIR/nginx.conf"
  kill -HUP "$NGINX_PID"
  for pid in $before; do until_true gone "$pid"; done
  try other
}

@test "every request of one connection is cleaned" {
  start_hiding
  request="GET /a/x?apikey=$SECRET HTTP/1.1\r\nHost: a\r\nUser-Agent: test-9\r\n"
  raw "$request\r\n$request\r\nPOST /a/y HTTP/1.1\r\nHost: a\r\napikey: $SECRET\r\nContent-Length: 2\r\n\r\nab$request\r\n${request}Connection: close\r\n\r\n"
  [ "$(grep -c '^GET /a/x ' "$DIR/answer")" = 0 ]
  [ "$(grep -c '^X-Consumer-Username: Alice' "$DIR/answer")" = 5 ]
  nothing_told
  raw "$request\r\nGET /a/x?apikey=$SECRET HTTP/9.9\r\n\r\n"
  nothing_told
}

@test "HTTP/2: neither the path nor a header with a key is logged" {
  second=$(free_port)
  start_hiding '' '' "server {
      listen 127.0.0.1:$second http2;
      access_log $DIR/access.log realm;
      access_log $DIR/agents.log agent;
      location / { realm_auth on; realm_auth_hide_credentials on; proxy_pass http://127.0.0.1:1; }
    }"
  WEB="http://127.0.0.1:$second"
  for _ in 1 2; do
    get --http2-prior-knowledge -H "apikey: $SECRET" -H "referer: http://gw/?apikey=$SECRET" "/x?b=1&apikey=$SECRET"
  done
  logged
}

@test "an error page, a mirror, auth_request and X-Accel-Redirect get the request without the key" {
  start_people
  start_echo
  accel=$(free_port)
  common="realm_auth on; realm_auth_hide_credentials on; realm_auth_identity realm:us:$PROD;"
  start_nginx "location / { return 204; }
    location /error/ { $common error_page 404 403 502 = /page; proxy_pass http://127.0.0.1:1; }
    location /named/ { $common try_files /none @shown; }
    location @shown { proxy_pass http://$UPSTREAM; }
    location /page { proxy_pass http://$UPSTREAM; proxy_set_header X-Uri \$request_uri; }
    location /accel/ { $common proxy_pass http://127.0.0.1:$accel; }
    location /mirrored/ { $common mirror /mirror; proxy_pass http://$UPSTREAM; }
    location = /mirror { internal; proxy_pass http://127.0.0.1:$accel/mirror?\$args; proxy_set_header X-Uri \$request_uri; }
    location /checked/ { $common auth_request /check; proxy_pass http://$UPSTREAM; }
    location = /check { internal; proxy_pass http://127.0.0.1:$accel/check?\$args; proxy_set_header X-Uri \$request_uri; }" \
    "log_format behind '\$request|\$http_x_uri|\$http_apikey|\$http_referer';
    server {
      listen 127.0.0.1:$accel; access_log $DIR/behind.log behind;
      location / { return 200; }
      location /accel/ { add_header X-Accel-Redirect /page; return 200; }
    }"
  for path in error named accel mirrored checked; do
    expect 200 -H "Referer: http://gw/?apikey=$SECRET" "/$path/x?apikey=$SECRET"
    nothing_told
    upstream_did_not_see '[?&]apikey'
    expect 200 -H "apikey: $SECRET" "/$path/x"
    upstream_did_not_see '^apikey'
  done
  until_true test "$(wc -l <"$DIR/behind.log")" -ge 6
}
