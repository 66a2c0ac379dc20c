# nginx_common.bash - a real NGINX with the module, on random ports, for the nginx_*.bats files.
#
# An upstream inside the same NGINX answers with the request as it arrived, one "name: value" a line.

load common

NGINX_LOG='$status|$realm_auth_status|$realm_consumer_id|$realm_consumer_username|$realm_consumer_custom_id|$realm_credential_id|$realm_consumer_groups|$realm_name|$realm_store_age_ms'

# Workers outlive a master that is killed: masters are asked to go first.
teardown() {
  local pid
  for pid in $(cat "$DIR"/nginx.pid* 2>/dev/null); do
    kill -TERM "$pid" 2>/dev/null || continue
    until_true gone "$pid"
  done
  stop_all
}

gone() { ! kill -0 "$1" 2>/dev/null; }

# free_port: a port that nobody listens on at this moment. NGINX has no way to tell which it took.
free_port() {
  local port
  while :; do
    port=$((RANDOM % 20000 + 20000))
    (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || break
  done
  echo "$port"
}

# write_nginx_config LOCATIONS [HTTP_LINES]: $DIR/nginx.conf with these locations in its server.
write_nginx_config() {
  cat >"$DIR/nginx.conf" <<CONF
load_module $BUILD/nginx/ngx_http_realm_auth_module.so;
user ${NGINX_USER:-$(id -un) $(id -gn)};
${NGINX_MAIN:-}
worker_processes ${NGINX_WORKERS:-1};
pid $DIR/nginx.pid;
error_log $DIR/error.log info;
events { worker_connections 256; }
http {
    access_log off;
    log_format realm '$NGINX_LOG';
    client_body_temp_path $DIR/temp-body;
    proxy_temp_path $DIR/temp-proxy;
    fastcgi_temp_path $DIR/temp-fastcgi;
    uwsgi_temp_path $DIR/temp-uwsgi;
    scgi_temp_path $DIR/temp-scgi;
    realm_store ${NGINX_STORE:-$DIR/edge};
    ${2:-}
    server {
        listen 127.0.0.1:$NGINX_PORT;
        access_log $DIR/access.log realm;
        $1
    }
}
CONF
}

# nginx_program [OPTION...]
nginx_program() {
  "${NGINX:-nginx}" -p "$DIR/" -c "$DIR/nginx.conf" -e "$DIR/error.log" "$@" 3>&-
}

# start_nginx LOCATIONS [HTTP_LINES]: sets NGINX_PORT, WEB and NGINX_PID.
start_nginx() {
  local attempt
  for attempt in 1 2 3 4 5; do
    NGINX_PORT=$(free_port)
    write_nginx_config "$@"
    nginx_program -g 'daemon off;' 2>>"$DIR/nginx.err" &
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
  cat "$DIR/nginx.err" "$DIR/error.log" >&2
  return 1
}

nginx_listens() {
  curl -sS -o /dev/null "http://127.0.0.1:$NGINX_PORT/" 2>/dev/null || ! kill -0 "$NGINX_PID" 2>/dev/null
}

# get [CURL_OPTION...] PATH: sets status to the answer's code; body and headers are in $DIR/body and $DIR/headers.
get() {
  local path=${!#}
  status=$(curl -sS -o "$DIR/body" -D "$DIR/headers" -w '%{http_code}' "${@:1:$#-1}" "$WEB$path")
}
