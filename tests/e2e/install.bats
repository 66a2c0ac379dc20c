#!/usr/bin/env bats
# What `make install` puts down is complete, and enough to build and run a program on.
# shellcheck disable=SC2154 # bats sets $status and $output

load common

installed() {
  make -s -C "$BATS_TEST_DIRNAME/../.." BUILD="$BUILD" PREFIX=/opt/realmstore DESTDIR="$DIR/root" \
    OPT="${OPT-}" SAN="${SAN-}" install-files
  root="$DIR/root/opt/realmstore"
}

@test "the example builds against the installed library alone, as C11 and as C++17" {
  [ -z "${REALMSTORE_SANITIZED:-}" ] || skip 'the installed library is not built with sanitizers'
  installed
  start_control
  start_agent edge "$CP_A"
  realm=$(make_realm prod "$CP_A")
  secret=$(make_key "$realm" "$(make_consumer "$realm" Alice)")
  export PKG_CONFIG_PATH="$root/lib/pkgconfig" PKG_CONFIG_SYSROOT_DIR="$DIR/root" LD_LIBRARY_PATH="$root/lib"
  example="$BATS_TEST_DIRNAME/../../docs/examples/lookup.c"
  # shellcheck disable=SC2046 # options are words
  (cd "$DIR" && cc -std=c11 -Wall -Wextra -Werror "$example" $(pkg-config --cflags --libs realmstore) -o example-c &&
    g++ -std=c++17 -Wall -Wextra -Werror -x c++ "$example" -x none $(pkg-config --cflags --libs realmstore) -o example-cpp)
  for program in example-c example-cpp; do
    run "$DIR/$program" "$DIR/edge" "realm:$realm" <<<"$secret"
    [ "$status" = 0 ]
    [[ $output == *"Alice gold"* ]]
    run "$DIR/$program" "$DIR/edge" "realm:$realm" cp <<<"another key"
    [ "$status" = 1 ]
    run "$DIR/$program" "$DIR/nowhere" cp <<<"another key"
    [ "$status" = 2 ]
  done
}

@test "programs, man pages, units and examples are installed, and the man pages read without a warning" {
  installed
  for program in realm-agent realm-control realmctl; do
    "$root/bin/$program" --version
  done
  for page in man1/realmctl.1 man3/realmstore.3 man8/realm-agent.8 man8/realm-control.8; do
    man --warnings -l "$root/share/man/$page" >"$DIR/page" 2>"$DIR/warnings"
    [ -s "$DIR/page" ] && [ ! -s "$DIR/warnings" ]
  done
  grep -q "ExecStart=/opt/realmstore/bin/realm-agent" "$root/lib/systemd/system/realm-agent.service"
  grep -q "ExecStart=/opt/realmstore/bin/realm-control" "$root/lib/systemd/system/realm-control.service"
  [ -f "$root/share/doc/realmstore/realm-agent.yaml" ]
}

@test "the Lua binding and the Kong plugin are installed, and the binding finds the library of its installation" {
  [ -z "${REALMSTORE_SANITIZED:-}" ] || skip 'LuaJIT has no sanitizers'
  installed
  LUA_PATH="$root/share/lua/5.1/?.lua" luajit -e "
    local nothing, message, code = assert(require('realmstore').open('$DIR/nowhere')):status()
    assert(not nothing and code == -3, message)
    assert(io.open('/proc/self/maps'):read('*a'):find('$root/lib/librealmstore.so.1', 1, true))"
  diff -r "$BATS_TEST_DIRNAME/../../gateway/kong/kong" "$root/share/lua/5.1/kong"
}

# loads MODULE: NGINX takes the module, and finds its library.
loads() {
  printf 'load_module %s;\npid %s/pid;\nerror_log stderr;\nevents {}\nhttp { access_log off; realm_store %s; }\n' "$1" "$DIR" "$DIR" \
    >"$DIR/nginx.conf"
  nginx -t -q -e stderr -p "$DIR/" -c "$DIR/nginx.conf"
}

@test "the NGINX module is installed, and loads from there without a library path" {
  [ -z "${REALMSTORE_SANITIZED:-}" ] || skip 'NGINX has no sanitizers'
  installed
  loads "$root/lib/nginx/modules/ngx_http_realm_auth_module.so"
}

@test "the NGINX module builds by NGINX's own configure against the installed library" {
  [ -z "${REALMSTORE_SANITIZED:-}" ] || skip 'the installed library is not built with sanitizers'
  source_tree=/usr/share/nginx/src
  installed
  export PKG_CONFIG_PATH="$root/lib/pkgconfig" PKG_CONFIG_SYSROOT_DIR="$DIR/root" LD_LIBRARY_PATH="$root/lib"
  mkdir "$DIR/source"
  cp -r "$BATS_TEST_DIRNAME"/../../{base,gateway} "$DIR/source"
  (cd "$source_tree" && . ./conf_flags &&
    ./configure "${NGX_CONF_FLAGS[@]}" --add-dynamic-module="$DIR/source/gateway/nginx" --builddir="$DIR/objs" &&
    make -f "$DIR/objs/Makefile" modules) >"$DIR/build.log" 2>&1 || { tail -n 30 "$DIR/build.log"; return 1; }
  loads "$DIR/objs/ngx_http_realm_auth_module.so"
}

@test "the example configurations are good, but for the tokens they name" {
  [ ! -e /etc/realm-agent/us.token ] || skip 'this machine has the token that the example names'
  run "$BUILD/bin/realm-agent" --check-config --config "$BATS_TEST_DIRNAME/../../packaging/realm-agent.yaml"
  [ "$status" = 1 ]
  [[ $output == *token* ]]
}
