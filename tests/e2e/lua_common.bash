# lua_common.bash - Lua of this project in Debian's NGINX and in a plain luajit, for lua.bats and kong.bats.
# shellcheck disable=SC2034 # the tests use the variables

load nginx_common

ROOT=$(cd "$BATS_TEST_DIRNAME/../.." && pwd)
export LD_LIBRARY_PATH="$BUILD/lib"
export LUA_PATH="$ROOT/gateway/lua/?.lua;;"

# Without the NGINX module nobody edits what NGINX and its Lua module say by themselves at level debug: lines of requests
# and headers. What Lua code logs has its file in front ("[lua] consumers.lua:80:").
TELLS_SECRETS='error\.log:(.*\[debug\] [0-9#]+: \*[0-9]+ (http|lua|posix_memalign) [^[]|[A-Za-z_-]+: |"?[A-Z]+ /)'

# The NGINX module must not have the store open in the same process: a configuration without it.
# write_nginx_config LOCATIONS [HTTP_LINES]
write_nginx_config() {
  cat >"$DIR/nginx.conf" <<CONF
load_module /usr/lib/nginx/modules/ndk_http_module.so;
load_module /usr/lib/nginx/modules/ngx_http_lua_module.so;
user ${NGINX_USER:-$(id -un) $(id -gn)};
env LD_PRELOAD;
env ASAN_OPTIONS;
worker_processes ${NGINX_WORKERS:-1};
pid $DIR/nginx.pid;
error_log $DIR/error.log debug;
events { worker_connections 256; }
http {
    access_log off;
    client_body_temp_path $DIR/temp-body;
    proxy_temp_path $DIR/temp-proxy;
    fastcgi_temp_path $DIR/temp-fastcgi;
    uwsgi_temp_path $DIR/temp-uwsgi;
    scgi_temp_path $DIR/temp-scgi;
    lua_package_path "${LUA_PACKAGES:-$ROOT/gateway/lua/?.lua;;}";
    ${2:-}
    server {
        listen 127.0.0.1:$NGINX_PORT;
        $1
    }
}
CONF
}

# lua SCRIPT [ARGUMENT...]: outside NGINX.
lua() { (preload_sanitizers && luajit "$@"); }
