#!/usr/bin/env bats
# The Kong plugin without Kong: in Debian's NGINX with the Lua module, on a stub of Kong's kit (tests/lua/kong_pdk.lua),
# with the real library, store, agent and control plane.
# shellcheck disable=SC2016,SC2034,SC2154 # Lua and NGINX variables; the helpers read and set variables

load lua_common

LUA_PACKAGES="$ROOT/gateway/lua/?.lua;$ROOT/gateway/kong/?.lua;$ROOT/tests/lua/?.lua;;"

backend() {
  start_people
  start_echo
}

# location NAME [FIELDS [LUA]]: /NAME/, authenticated by the plugin with these fields of its configuration, after LUA.
location() {
  echo "location /$1/ {
    access_by_lua_block { ${3:-} confs.$1 = confs.$1 or conf{${2:-}}; plugin:access(confs.$1) }
    proxy_pass http://$UPSTREAM;
  }"
}

# start_kong LOCATIONS: NGINX with the plugin.
start_kong() {
  start_nginx "location / { return 204; } $1" \
    "underscores_in_headers on;
    init_by_lua_block {
      kong = require 'kong_pdk'
      plugin = require 'kong.plugins.realm-auth.handler'
      confs = {}
      function conf(values)
        values.store_dir = values.store_dir or '$DIR/edge'
        values.identity_realms = values.identity_realms or {{scope = 'realm', region = 'us', id = '$PROD'}}
        return require('kong_schema').config(values)
      end
    }"
}

make_own() { # USERNAME: one of the control plane's own consumers
  api POST "/v2/control-planes/$CP_A/core-entities/consumers?wait=applied" "{\"username\":\"$1\"}" | jq -er .id
}

code_is() { get "${@:2}" && [ "$status" = "$1" ]; }

@test "a key in the header is its consumer, for the upstream and for Kong" {
  backend
  start_kong "$(location a) location /b/ {
      access_by_lua_block { plugin:access(conf{}) }
      content_by_lua_block { ngx.say(require('cjson').encode{kong.client.get_consumer(), kong.client.get_credential(),
        kong.ctx.shared.authenticated_groups}) }
    }"
  expect 200 -H "apikey: $SECRET" /a/x
  upstream_saw "X-Consumer-ID: $ALICE"
  upstream_saw 'X-Consumer-Username: Alice'
  upstream_saw 'X-Consumer-Custom-ID: c-1'
  upstream_saw "X-Credential-Identifier: $KEY_ID"
  upstream_saw 'X-Consumer-Groups: gold, silver'
  upstream_saw "apikey: $SECRET"
  upstream_did_not_see '^X-Anonymous'
  expect 200 -H "apikey: $SECRET" /b/x
  [ "$(jq -c '[.[0].id, .[0].username, .[0].custom_id, .[1].id, .[1].consumer.id, .[2]]' "$DIR/answer")" = \
    "[\"$ALICE\",\"Alice\",\"c-1\",\"$KEY_ID\",\"$ALICE\",[\"gold\",\"silver\"]]" ]
  api DELETE "/v1/realms/$PROD/consumers/$ALICE/keys/$KEY_ID?wait=applied"
  expect 401 -H "apikey: $SECRET" /a/x
}

@test "what the client says about itself is taken away, however it is spelled" {
  backend
  start_kong "$(location a 'run_on_preflight = false')"
  forged=()
  for name in ID Username Custom-ID Groups; do
    forged+=(-H "X-Consumer-$name: root" -H "x_consumer_${name//-/_}: root" -H "X-consumer_$name: root" -H "X-Consumer-$name: root2")
  done
  forged+=(-H 'X-Anonymous-Consumer: root' -H 'X-Credential-Identifier: root' -H 'X_Credential_Identifier: root')
  bob=$(make_consumer "$PROD" Bob)
  second=$(make_key "$PROD" "$bob")
  expect 200 -H "apikey: $second" "${forged[@]}" /a/x
  upstream_saw "X-Consumer-ID: $bob"
  upstream_saw 'X-Consumer-Groups: gold'
  upstream_did_not_see 'root|^X-Consumer-Custom'
  expect 200 -X OPTIONS "${forged[@]}" /a/x
  upstream_did_not_see 'root'
}

@test "more headers than Kong shows are refused, since a forged one may stand behind them" {
  LUA_PATH="$LUA_PACKAGES"
  lua - <<'LUA'
local refused
ngx = {}
kong = {
  request = { get_headers = function(max) return {}, max == 1000 and "truncated" end, get_method = function() return "GET" end },
  client = { get_credential = function() end },
  response = { error = function(status) refused = status end },
}
require("kong.plugins.realm-auth.handler"):access(require("kong_schema").config {})
assert(refused == 431)
LUA
}

@test "a value out of a damaged store cannot end its header" {
  LUA_PATH="$LUA_PACKAGES"
  lua - <<'LUA'
local seen = {}
kong = {
  client = { authenticate = function() end },
  ctx = { shared = {} },
  service = { request = { set_header = function(name, value) seen[name] = value end } },
}
local identity = require "kong.plugins.realm-auth.identity"
identity.set({ id = "i", username = "Eve\r\nX-Evil: 1", custom_id = "a\tb\127", groups = { "g\0", "%", "x, gold", "", " gold " } }, {})
assert(seen["X-Consumer-Username"] == "Eve%0D%0AX-Evil: 1")
assert(seen["X-Consumer-Custom-ID"] == "a%09b%7F")
assert(seen["X-Consumer-Groups"] == "g%00, %, x%2C gold, %20gold%20")
LUA
}

@test "names in order, each in header, query and body; the first string counts" {
  backend
  start_kong "$(location a "key_names = {'apikey', 'x-key'}, key_in_body = true")"
  expect 200 "/a/x?apikey=$SECRET"
  expect 200 -H "APIKEY: $SECRET" '/a/x?apikey=wrong'
  expect 401 -H "apikey: wrong" "/a/x?apikey=$SECRET"
  expect 401 "/a/x?apikey=wrong&x-key=$SECRET"
  expect 200 -H 'x-key: wrong' "/a/x?apikey=$SECRET"
  expect 200 "/a/x?apikey&x-key=$SECRET"
  expect 200 -d "apikey=$SECRET" /a/x
  expect 200 -H 'Content-Type: application/json' -d "{\"apikey\":\"$SECRET\"}" /a/x
  expect 200 -H 'Content-Type: application/json' -d "{\"apikey\":7,\"x-key\":\"$SECRET\"}" /a/x
  expect 401 -H 'Content-Type: application/json' -d '{"apikey":' /a/x
  expect 401 -H 'Content-Type: text/plain' -d "apikey=$SECRET" /a/x
}

@test "places that are switched off are not searched" {
  backend
  start_kong "$(location a 'key_in_header = false, key_in_query = false')"
  expect 401 -H "apikey: $SECRET" /a/x
  expect 401 "/a/x?apikey=$SECRET"
  expect 401 -d "apikey=$SECRET" /a/x
}

@test "refusals are Kong's: missing, empty, duplicate, unknown, each with WWW-Authenticate" {
  backend
  start_kong "$(location a 'key_in_body = true') $(location b "realm = 'keys'")"
  for options in '' '-Hapikey;' '-d apikey='; do
    # shellcheck disable=SC2086 # none, one or two words
    expect 401 $options /a/x
    [ "$(message)" = 'No API key found in request' ]
    answer_has 'WWW-Authenticate: Key'
  done
  expect 401 -H "apikey: $SECRET" -H "apikey: $SECRET" /a/x
  [ "$(message)" = 'Duplicate API key found' ]
  expect 401 "/a/x?apikey=$SECRET&apikey=$SECRET"
  [ "$(message)" = 'Duplicate API key found' ]
  expect 401 -H 'Content-Type: application/json' -d "{\"apikey\":[\"$SECRET\"]}" /a/x
  [ "$(message)" = 'Duplicate API key found' ]
  expect 401 -H 'apikey: wrong' /b/x
  [ "$(message)" = Unauthorized ]
  answer_has 'WWW-Authenticate: Key realm="keys"'
}

@test "a hidden key is nowhere in the request" {
  backend
  start_kong "$(location a "hide_credentials = true, key_in_body = true, key_names = {'api_key', 'apikey'}")"
  expect 200 -H "apikey: $SECRET" '/a/x?apikey=other&b=1'
  upstream_saw 'GET /a/x\?b=1'
  upstream_did_not_see "apikey|$SECRET"
  expect 200 -H "api-key: $SECRET" /a/x
  upstream_did_not_see "api.key|$SECRET"
  expect 200 -H "api_key: $SECRET" /a/x
  upstream_did_not_see "api.key|$SECRET"
  expect 200 -d "apikey=$SECRET&b=1" /a/x
  [ "$(tail -n 1 "$DIR/answer")" = b=1 ]
  expect 200 -H 'Content-Type: application/json' -d "{\"apikey\":\"$SECRET\",\"b\":1}" /a/x
  [ "$(tail -n 1 "$DIR/answer")" = '{"b":1}' ]
}

@test "keys of all names are hidden from the upstream, whatever becomes of the request" {
  backend
  make_own guest
  fields="hide_credentials = true, key_in_body = true, key_names = {'apikey', 'x-key'}"
  start_kong "$(location a "$fields, anonymous = 'guest', run_on_preflight = false")
    $(location b "$fields, anonymous = 'guest'" "kong.client.authenticate({id = 'other'}, {id = 'x'})")"
  without() {
    expect 200 "$@"
    upstream_did_not_see "$SECRET|(^|[?&\"])(apikey|x-key)"
  }
  without -H "apikey: $SECRET" -H "apikey: $SECRET" /a/x
  upstream_saw 'X-Anonymous-Consumer: true'
  without -H "apikey: $SECRET" -H "X-Key: $SECRET" -H "Referer: http://gw/?b=1&apikey=$SECRET" "/a/x?x-key=$SECRET&c=%20&%61pikey=$SECRET"
  upstream_saw 'X-Consumer-Username: Alice'
  upstream_saw 'GET /a/x\?c=%20'
  upstream_saw 'Referer: http://gw/\?b=1'
  without -H "apikey: $SECRET" -H "x_Key: $SECRET" /a/x
  without -H "apikey: $SECRET" -H "Referer: http://gw/#apikey=$SECRET" "/a/x?b=1;%61pikey=$SECRET;c&X-KEY=$SECRET&d;e"
  upstream_saw 'GET /a/x\?b=1&d;e'
  without -H "apikey: $SECRET" -H "Referer: http://gw/?apikey=$SECRET" -H "Referer: http://gw/?b=1&apikey=$SECRET" /a/x
  without -H "apikey: $SECRET" -H 'Content-Type: application/json' -d "{\"ApiKey\":\"$SECRET\"}" /a/x
  without -H "apikey: $SECRET" -d "a=1;APIKEY=$SECRET" /a/x
  without -d "x-key=$SECRET&apikey=$SECRET&apikey=$SECRET&b=%2B" /a/x
  [ "$(tail -n 1 "$DIR/answer")" = 'b=%2B' ]
  without -H 'Content-Type: application/json' -d "{\"apikey\":[\"$SECRET\"],\"x-key\":\"$SECRET\"}" /a/x
  without -X OPTIONS -H "x-key: $SECRET" -d "apikey=$SECRET" "/a/x?apikey=$SECRET"
  without -H "x-key: $SECRET" -d "apikey=$SECRET" "/b/x?apikey=$SECRET"
  many=$(printf 'a=%s&' {1..150})
  without -d "${many}apikey=$SECRET" "/a/x?${many}x-key=$SECRET"
  [ "$(tail -n 1 "$DIR/answer")" = "${many%&}" ]
}

@test "a body in which nothing can be hidden does not reach the upstream" {
  backend
  start_kong "client_body_buffer_size 1k; $(location a "hide_credentials = true, key_in_body = true") $(location b "key_in_body = true")"
  printf 'a=%020000d&apikey=%s' 1 "$SECRET" >"$DIR/form"
  printf '{"a":"%020000d","apikey":"%s"}' 1 "$SECRET" >"$DIR/json"
  for header in 'apikey: wrong' "apikey: $SECRET"; do
    expect 413 -H "$header" --data-binary "@$DIR/form" /a/x
    expect 413 -H "$header" -H 'Content-Type: application/json' --data-binary "@$DIR/json" /a/x
    expect 400 -H "$header" -H 'Content-Type: application/json' -d "{\"ApiKey\":\"$SECRET\"" /a/x
  done
  expect 200 -H "apikey: $SECRET" -H 'Content-Type: application/json' -d '{' /a/x
  expect 200 -H "apikey: $SECRET" -H 'Content-Type: text/plain' --data-binary "@$DIR/form" /a/x
  expect 200 -H "apikey: $SECRET" --data-binary "@$DIR/form" /b/x
}

@test "preflight requests pass where that is configured" {
  backend
  start_kong "$(location a 'run_on_preflight = false') $(location b)"
  expect 200 -X OPTIONS /a/x
  upstream_did_not_see '^X-Consumer'
  expect 401 -X OPTIONS /b/x
  expect 401 /a/x
}

@test "the anonymous consumer stands in for what is missing, duplicate or unknown" {
  backend
  guest=$(make_own guest)
  start_kong "$(location a "anonymous = 'guest'")
    $(location b "anonymous = '$guest'")
    $(location c "anonymous = 'nobody'")
    $(location d "anonymous = 'guest'" "kong.client.authenticate({id = 'other'}, {id = 'x'})")"
  for path in a b; do
    for options in '' '-Hapikey:wrong' '-Hapikey:a -Hapikey:b'; do
      # shellcheck disable=SC2086 # none, one or two words
      expect 200 $options -H 'X-Credential-Identifier: forged' "/$path/x"
      upstream_saw "X-Consumer-ID: $guest"
      upstream_saw 'X-Consumer-Username: guest'
      upstream_saw 'X-Anonymous-Consumer: true'
      upstream_did_not_see '^X-Credential|^X-Consumer-(Groups|Custom)'
    done
  done
  expect 200 -H "apikey: $SECRET" /a/x
  upstream_saw "X-Consumer-ID: $ALICE"
  upstream_did_not_see '^X-Anonymous'
  expect 500 /c/x
  [ "$(message)" = "anonymous consumer nobody is configured but doesn't exist" ]
  expect 200 -H 'apikey: wrong' /d/x
  upstream_did_not_see '^X-Consumer'
  make_own nobody
  until_true code_is 200 /c/x
  api DELETE "/v2/control-planes/$CP_A/core-entities/consumers/$guest?wait=applied"
  until_true code_is 500 /a/x
  second=$(make_own guest)
  until_true code_is 200 /a/x
  upstream_saw "X-Consumer-ID: $second"
}

@test "identity_realms are asked in order; what is null there is not there" {
  backend
  own=$(make_own Izumi)
  api POST "/v2/control-planes/$CP_A/core-entities/consumers/$own/key-auth?wait=applied" "{\"key\":\"$SECRET\"}"
  start_kong "$(location a)
    $(location b "identity_realms = {{scope = 'cp'}, {scope = 'realm', id = '$PROD'}}")
    $(location c "identity_realms = {{scope = 'realm', id = '$CP_B'}, {scope = 'realm', id = '$PROD', region = ngx.null}}")
    $(location d "identity_realms = {{scope = 'realm', id = '$CP_B'}, {scope = 'cp', id = ngx.null, region = 'us'}}")
    $(location e "identity_realms = ngx.null")
    $(location f "identity_realms = {ngx.null, {scope = 'realm', id = '$PROD'}}")
    $(location g "identity_realms = {{scope = 'realm', id = '$CP_B'}}")
    $(location h "identity_realms = {{scope = 'realm', id = ngx.null}}")"
  for path in b d e; do
    expect 200 -H "apikey: $SECRET" "/$path/x"
    upstream_saw 'X-Consumer-Username: Izumi'
  done
  for path in a c f; do
    expect 200 -H "apikey: $SECRET" "/$path/x"
    upstream_saw 'X-Consumer-Username: Alice'
  done
  expect 401 -H "apikey: $SECRET" /g/x
  expect 500 -H "apikey: $SECRET" /h/x
}

@test "a stale consumer is served or denied, as configured" {
  backend
  start_kong "$(location a) $(location b "on_stale = 'deny'")"
  kill_program "$CONTROL_PID"
  until_true agent_is edge disconnected
  expect 200 -H "apikey: $SECRET" /b/x
  "$BUILD/tests/age_store" "$DIR/edge" $((11 * 60 * 1000))
  expect 200 -H "apikey: $SECRET" /a/x
  expect 401 -H "apikey: wrong" /a/x
  expect 401 -H "apikey: $SECRET" /b/x
  [ "$(message)" = Unauthorized ]
}

@test "a store that cannot be read is a 500, for anonymous callers too, logged once, and heals by itself" {
  backend
  make_own guest
  stop_program "$AGENT_PID"
  mv "$DIR/edge" "$DIR/away"
  start_kong "$(location a "anonymous = 'guest'")"
  for _ in 1 2 3; do
    expect 500 -H "apikey: $SECRET" /a/x
    [ "$(message)" = 'An unexpected error occurred' ]
  done
  expect 500 /a/x
  [ "$(grep -c 'cannot read the store: no store in' "$DIR/error.log")" = 1 ]
  mv "$DIR/away" "$DIR/edge"
  until_true code_is 200 -H "apikey: $SECRET" /a/x
  grep -q 'the store answers again' "$DIR/error.log"
}

@test "the schema has key-auth's fields with its defaults, and the rock has every file" {
  LUA_PATH="$LUA_PACKAGES"
  lua - "$ROOT/gateway/kong" <<'LUA'
local kong_schema = require "kong_schema"
local config = kong_schema.config {}
assert(kong_schema.schema.name == "realm-auth")
assert(config.key_names[1] == "apikey" and #config.key_names == 1)
assert(config.key_in_header == true and config.key_in_query == true and config.key_in_body == false)
assert(config.hide_credentials == false and config.run_on_preflight == true)
assert(config.anonymous == nil and config.realm == nil)
assert(#config.identity_realms == 1 and config.identity_realms[1].scope == "cp")
local function field(fields, name)
  for _, entry in ipairs(fields) do
    if entry[name] then
      return entry[name]
    end
  end
end
assert(field(kong_schema.fields, "identity_realms").len_max == 64)
assert(config.store_dir == "/var/lib/realm-agent" and config.on_stale == "serve")

local rock = setfenv(assert(loadfile(arg[1] .. "/kong-plugin-realm-auth-0.1.0-1.rockspec")), {})
rock()
local modules = getfenv(rock).build.modules
for module, path in pairs(modules) do
  assert(loadfile(arg[1] .. "/" .. path))
  assert(path == module:gsub("%.", "/") .. ".lua")
end
for path in io.popen("cd '" .. arg[1] .. "' && find . -name '*.lua'"):lines() do
  assert(modules[path:match("^%./(.*)%.lua$"):gsub("/", ".")], path)
end
_G.kong, _G.ngx = {}, {}
assert(getfenv(rock).version == require("kong.plugins.realm-auth.handler").VERSION .. "-1")
LUA
}
