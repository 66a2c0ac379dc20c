# nginx_common.bash - a real NGINX with the module, on random ports, for the nginx_*.bats files.
#
# tests/helpers/echo_server.c is the upstream: it answers with the request as it arrived.
# shellcheck disable=SC2034 # the tests use the variables

load common

NGINX_LOG='$status|$realm_auth_status|$realm_consumer_id|$realm_consumer_username|$realm_consumer_custom_id|$realm_credential_id|$realm_consumer_groups|$realm_name|$realm_store_age_ms'

# Workers outlive a master that is killed: masters are asked to go first.
teardown() {
  local pid complaints told=0
  for pid in $(cat "$DIR"/nginx.pid* "$DIR"/*/nginx.pid 2>/dev/null); do
    kill -TERM "$pid" 2>/dev/null || continue
    until_true gone "$pid"
  done
  complaints=$(cat "$DIR"/sanitizer.* "$DIR"/*/sanitizer.* 2>/dev/null)
  stop_all || told=1
  echo "$complaints"
  [ -z "$complaints" ] && [ $told = 0 ]
}

gone() { ! kill -0 "$1" 2>/dev/null; }

# free_port: a port that nobody listens on at this moment, below those that the kernel gives away. NGINX has no way to
# tell which it took.
free_port() {
  local port
  while :; do
    port=$((RANDOM % 20000 + 12000))
    (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || break
  done
  echo "$port"
}

# write_nginx_config LOCATIONS [HTTP_LINES]: $DIR/nginx.conf with these locations in its server.
write_nginx_config() {
  cat >"$DIR/nginx.conf" <<CONF
load_module $BUILD/nginx/ngx_http_realm_auth_module.so;
user ${NGINX_USER:-$(id -un) $(id -gn)};
env LD_PRELOAD;
env ASAN_OPTIONS;
worker_processes ${NGINX_WORKERS:-1};
pid $DIR/nginx.pid;
error_log $DIR/error.log debug;
events { worker_connections 256; }
http {
    access_log off;
    log_format realm '$NGINX_LOG';
    log_format agent '\$http_user_agent';
    client_body_temp_path $DIR/temp-body;
    proxy_temp_path $DIR/temp-proxy;
    fastcgi_temp_path $DIR/temp-fastcgi;
    uwsgi_temp_path $DIR/temp-uwsgi;
    scgi_temp_path $DIR/temp-scgi;
    realm_store $DIR/edge;
    ${2:-}
    server {
        listen 127.0.0.1:$NGINX_PORT;
        access_log $DIR/access.log realm;
        access_log $DIR/agents.log agent;
        $1
    }
}
CONF
}

# run_nginx [OPTION...]: in place of this shell; by its path, which a binary upgrade needs.
run_nginx() {
  preload_sanitizers
  exec "$(command -v nginx)" -p "$DIR/" -c "$DIR/nginx.conf" -e "$DIR/error.log" "$@" 2>>"$DIR/nginx.err" 3>&-
}

# NGINX itself has no sanitizers in it, but the module then has. NGINX never frees its configuration.
preload_sanitizers() {
  [ -n "${REALMSTORE_SANITIZED:-}" ] || return 0
  LD_PRELOAD="$(gcc -print-file-name=libasan.so) $(gcc -print-file-name=libubsan.so)"
  export LD_PRELOAD ASAN_OPTIONS=detect_leaks=0:log_path=$DIR/sanitizer
}

# start_nginx LOCATIONS [HTTP_LINES]: sets NGINX_PORT, WEB and NGINX_PID. $DIR/files/page says "let in". With NGINX_CONFIG
# that function writes the configuration instead, from the same arguments.
start_nginx() {
  mkdir -p "$DIR/files"
  echo 'let in' >"$DIR/files/page"
  for _ in 1 2 3 4 5; do
    NGINX_PORT=$(free_port)
    "${NGINX_CONFIG:-write_nginx_config}" "$@"
    run_nginx -g 'daemon off;' &
    NGINX_PID=$!
    if until_true nginx_listens && kill -0 "$NGINX_PID" 2>/dev/null; then
      PIDS+=("$NGINX_PID")
      WEB="http://127.0.0.1:$NGINX_PORT"
      return 0
    fi
    wait "$NGINX_PID" || true
    grep -q 'Address already in use' "$DIR/nginx.err" || break
    : >"$DIR/nginx.err"
  done
  cat "$DIR/nginx.err" >&2
  complaints_of_nginx >&2
  return 1
}

complaints_of_nginx() { grep -av '\[debug\]' "$DIR/error.log" | cut -c 1-300 | tail -n 20; }

# The pid file is written when the sockets are open.
nginx_listens() { [ -s "$DIR/nginx.pid" ] || ! kill -0 "$NGINX_PID" 2>/dev/null; }

# get [CURL_OPTION...] PATH: sets status to the answer's code; body and headers are in $DIR/answer and $DIR/headers.
# Each request has its own User-Agent, by which logged finds it.
REQUESTS=0
get() {
  local path=${!#}
  REQUESTS=$((REQUESTS + 1))
  status=$(curl -sS -A "test-$REQUESTS" -o "$DIR/answer" -D "$DIR/headers" -w '%{http_code}' "${@:1:$#-1}" "$WEB$path") ||
    { complaints_of_nginx >&2; return 1; }
}

# expect CODE [CURL_OPTION...] PATH
expect() {
  local code=$1
  shift
  get "$@"
  [ "$status" = "$code" ] && return
  echo "expected $code, got $status for $*" >&2
  cut -c 1-300 "$DIR/answer" >&2
  complaints_of_nginx >&2
  return 1
}

# The message of a refusal in JSON.
message() { jq -r .message "$DIR/answer"; }

# answer_has LINE: the answer has this header (an extended regular expression); answer_has_no NAME.
answer_has() {
  tr -d '\r' <"$DIR/headers" | grep -qiE "^($1)\$" && return
  echo "the answer has no header $1:" >&2
  cat "$DIR/headers" >&2
  return 1
}
answer_has_no() { ! grep -i "^$1:" "$DIR/headers" >&2; }

# upstream_saw LINE: the echoed request has this line (an extended regular expression for all of it, any case).
upstream_saw() {
  grep -qiE "^($1)\$" "$DIR/answer" && return
  echo "the upstream did not see $1:" >&2
  cat "$DIR/answer" >&2
  return 1
}

upstream_did_not_see() {
  ! grep -iE "$1" "$DIR/answer" >&2
}

# start_echo: the echo server as UPSTREAM (host:port).
start_echo() {
  "$BUILD/tests/echo_server" >"$DIR/echo.out" 3>&- &
  PIDS+=($!)
  until_true grep -q '^listening on ' "$DIR/echo.out"
  UPSTREAM=127.0.0.1:$(sed -n 's/^listening on //p' "$DIR/echo.out")
}

# start_people: control plane and agent; realm PROD with ALICE, whose key is SECRET, in gold (the realm's) and silver.
start_people() {
  local key
  start_control
  start_agent edge "$CP_A"
  PROD=$(make_realm prod "$CP_A")
  ALICE=$(api POST "/v1/realms/$PROD/consumers" '{"username":"Alice","custom_id":"c-1","consumer_groups":["silver"]}' | jq -er .id)
  key=$(api POST "/v1/realms/$PROD/consumers/$ALICE/keys?wait=applied" '{"type":"new"}')
  SECRET=$(jq -er .secret <<<"$key")
  KEY_ID=$(jq -er .id <<<"$key")
}

# start_gateway [DIRECTIVES [LOCATIONS [HTTP_LINES]]]: people, echo server, and NGINX with a location /a/ that
# authenticates by the realm and has the directives.
start_gateway() {
  start_people
  start_echo
  start_nginx "location / { return 204; }
    location /a/ {
      realm_auth on;
      realm_auth_identity realm:us:$PROD;
      ${1:-}
      proxy_pass http://$UPSTREAM;
    }
    ${2:-}" "${3:-}"
}

# logged: the last line of the access log, once the last request that get made is in it: NGINX logs a request after its
# answer has been sent.
logged() {
  until_true grep -qsx "test-$REQUESTS" "$DIR/agents.log" && tail -n 1 "$DIR/access.log"
}
