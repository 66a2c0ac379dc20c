#!/usr/bin/env bats
# realmstore.lua in Debian's NGINX with the Lua module: real control plane, agent, store and workers.
# shellcheck disable=SC2034,SC2154 # the helpers read and set variables

load lua_common

# start_lua [HTTP_LINES]: NGINX whose /who says whose key it is, and /status what the store holds.
start_lua() {
  start_nginx "location / { return 204; }
    location /who { content_by_lua_file $ROOT/tests/lua/who.lua; }
    location /status { content_by_lua_block { ngx.say(require('cjson').encode({store:status()})) } }" \
    "init_by_lua_block {
      realmstore = require 'realmstore'
      store = assert(realmstore.open('$DIR/edge'${STORE_OPTIONS:+, $STORE_OPTIONS}))
    }
    ${1:-}"
}

# who KEY SOURCES: the answer in $DIR/answer.
who() { expect 200 -H "apikey: $1" "/who?sources=$2"; }

# tells FILTER: what jq finds in the answer.
tells() { jq -rc "$1" "$DIR/answer"; }

# who_is CODE KEY SOURCES
who_is() { who "$2" "$3" && [ "$(tells .code)" = "$1" ]; }

workers() { pgrep -P "$(cat "$DIR/nginx.pid")" | sort | tr '\n' ' '; }

workers_differ_from() { [ -n "$(workers)" ] && [ "$(workers)" != "$1" ]; }

@test "a consumer is a plain table: ids, names, groups of realm and consumer, tags" {
  start_people
  api PATCH "/v1/realms/$PROD/consumers/$ALICE?wait=applied" '{"tags":["a","b"]}'
  start_lua
  who "$SECRET" "realm:us:$PROD"
  [ "$(tells '.consumer | del(.age_ms)' | jq -S .)" = "$(jq -nS --arg id "$ALICE" --arg key "$KEY_ID" --arg realm "$PROD" \
    '{id: $id, username: "Alice", custom_id: "c-1", credential_id: $key, realm_id: $realm, realm_name: "prod",
      groups: ["gold", "silver"], tags: ["a", "b"], stale: false}')" ]
  [ "$(tells .code)" = 0 ]
  [ "$(tells '.consumer.age_ms >= 0')" = true ]
}

@test "sources are asked in order, and the control plane's own consumers have neither realm nor groups" {
  start_people
  own=$(api POST "/v2/control-planes/$CP_A/core-entities/consumers" '{"username":"Izumi"}' | jq -er .id)
  api POST "/v2/control-planes/$CP_A/core-entities/consumers/$own/key-auth?wait=applied" "{\"key\":\"$SECRET\"}"
  start_lua
  for sources in cp "cp:us,realm:$PROD"; do
    who "$SECRET" "$sources"
    [ "$(tells '.consumer | [.username, .realm_name, .custom_id, (.groups | length)]')" = '["Izumi",null,null,0]' ]
  done
  who "$SECRET" "realm:us:$PROD,cp"
  [ "$(tells .consumer.username)" = Alice ]
}

@test "a key that nobody has is nil, a text and a code, and no lookup leaves memory behind" {
  start_people
  start_lua
  for key in wrong '' "$SECRET%00" "${SECRET:0:-1}" "$(printf 'x%.0s' {1..2000})"; do
    who "$key" "realm:us:$PROD"
    [ "$(tells '[.consumer, .message, .code]')" = '[null,"not found",1]' ]
    [ "$(tells '.age_ms >= 0')" = true ]
  done
  who "$SECRET" "realm:us:$CP_B"
  [ "$(tells .code)" = 1 ]
  lua "$ROOT/tests/lua/memory.lua" "$DIR/edge" "realm:$PROD" "$SECRET"
}

@test "a change is seen by the next lookup: a new group, another key, a revoked key" {
  start_people
  start_lua
  who "$SECRET" "realm:us:$PROD"
  api PATCH "/v1/realms/$PROD/consumers/$ALICE?wait=applied" '{"consumer_groups":["bronze"]}'
  who "$SECRET" "realm:us:$PROD"
  [ "$(tells .consumer.groups)" = '["gold","bronze"]' ]
  second=$(make_key "$PROD" "$ALICE")
  who "$second" "realm:us:$PROD"
  [ "$(tells .consumer.username)" = Alice ]
  api DELETE "/v1/realms/$PROD/consumers/$ALICE/keys/$KEY_ID?wait=applied"
  who "$SECRET" "realm:us:$PROD"
  [ "$(tells .code)" = 1 ]
}

@test "a stale answer says so, with the consumer and without" {
  start_people
  start_lua
  kill_program "$CONTROL_PID"
  until_true agent_is edge disconnected
  who "$SECRET" "realm:us:$PROD"
  [ "$(tells '[.code, .consumer.stale]')" = '[0,false]' ]
  "$BUILD/tests/age_store" "$DIR/edge" $((11 * 60 * 1000))
  who "$SECRET" "realm:us:$PROD"
  [ "$(tells '[.code, .consumer.stale, .consumer.username]')" = '[2,true,"Alice"]' ]
  who wrong "realm:us:$PROD"
  [ "$(tells '[.code, .consumer, .age_ms >= 660000]')" = '[2,null,true]' ]
}

@test "a store that is not there is an error that says why, and heals by itself" {
  start_people
  stop_program "$AGENT_PID"
  mv "$DIR/edge" "$DIR/away"
  start_lua
  who "$SECRET" "realm:us:$PROD"
  [ "$(tells '[.consumer, .code]')" = '[null,-3]' ]
  [[ $(tells .message) == "no store in $DIR/edge"* ]]
  expect 200 /status
  [[ $(tells '.[0], .[2], .[1]' | tr '\n' ' ') == "null -3 no store in $DIR/edge"* ]]
  mv "$DIR/away" "$DIR/edge"
  until_true who_is 0 "$SECRET" "realm:us:$PROD"
}

@test "a store without a complete copy is an error until the copy is there" {
  start_control
  write_agent_config edge "$CP_A"
  kill_program "$CONTROL_PID"
  run_agent edge
  until_true test -e "$DIR/edge/status"
  start_lua
  who izumi-key cp
  [ "$(tells .code)" = -11 ]
  start_control
  own=$(api POST "/v2/control-planes/$CP_A/core-entities/consumers" '{"username":"Izumi"}' | jq -er .id)
  api POST "/v2/control-planes/$CP_A/core-entities/consumers/$own/key-auth?wait=applied" '{"key":"izumi-key"}'
  until_true who_is 0 izumi-key cp
}

@test "several workers look up each, and a reload gives their reader slots back" {
  NGINX_WORKERS=3
  STORE_OPTIONS="{mode = 'slots'}"
  start_people
  start_lua
  before=$(workers)
  every_worker_answered() {
    who "$SECRET" "realm:us:$PROD" && [ "$(tells .code)" = 0 ] && tells .pid >>"$DIR/answered"
    [ "$(sort -u "$DIR/answered" | tr '\n' ' ')" = "$before" ]
  }
  until_true every_worker_answered
  for pid in $before; do [[ $(ctl edge --json readers) == *"\"pid\":$pid,"* ]]; done
  kill -HUP "$NGINX_PID"
  until_true workers_differ_from "$before"
  for _ in {1..20}; do who_is 0 "$SECRET" "realm:us:$PROD"; done
  for pid in $before; do until_true gone "$pid"; done
  run ctl edge --json readers
  for pid in $before; do [[ $output != *"\"pid\":$pid,"* ]]; done
}

@test "a store that the master has used is opened again by each worker" {
  NGINX_WORKERS=2
  start_people
  start_lua "init_worker_by_lua_block {
    assert(store:lookup(realmstore.sources('realm:$PROD'), '$SECRET'))
    assert(store:status())
  }"
  sed -i "s|store = assert(.*|&; assert(store:lookup(realmstore.sources('realm:$PROD'), '$SECRET'))|" "$DIR/nginx.conf"
  before=$(workers)
  kill -HUP "$NGINX_PID"
  until_true workers_differ_from "$before"
  for pid in $before; do until_true gone "$pid"; done
  for _ in {1..10}; do who_is 0 "$SECRET" "realm:us:$PROD"; done
  run grep -E '\[(error|alert|emerg)\]' "$DIR/error.log"
  [ "$status" = 1 ]
  api DELETE "/v1/realms/$PROD/consumers/$ALICE/keys/$KEY_ID?wait=applied"
  who_is 1 "$SECRET" "realm:us:$PROD"
}

@test "requests are answered through a resynchronisation, and by the new copy after it" {
  start_people
  start_lua
  who_is 0 "$SECRET" "realm:us:$PROD"
  stop_program "$CONTROL_PID"
  touch "$DIR/control/new-epoch"
  generation=$(ctl edge --json stat | jq '.sources[0].generation')
  start_control
  switched() {
    who_is 0 "$SECRET" "realm:us:$PROD" && [ "$(ctl edge --json stat | jq '.sources[0].generation')" != "$generation" ]
  }
  until_true switched
  second=$(make_key "$PROD" "$ALICE")
  who_is 0 "$second" "realm:us:$PROD"
}

@test "a worker takes no slot unless it is told to" {
  start_people
  start_lua
  who_is 0 "$SECRET" "realm:us:$PROD"
  for _ in {1..10}; do
    second=$(make_key "$PROD" "$ALICE")
    who_is 0 "$second" "realm:us:$PROD"
  done
  [[ $(ctl edge --json readers) != *"\"pid\":$(tells .pid),"* ]]
  expect 200 /status
  [ "$(tells '.[0].mode')" = retained ]
}

@test "a consumer with many groups and tags is copied whole" {
  start_people
  groups=$(printf '"%s-group-of-no-small-length",' {1..60})
  # shellcheck disable=SC2046,SC2183 # pairs of words
  tags=$(printf '"%s-tag-of-%064d",' $(for i in {1..60}; do echo "$i $i"; done))
  api PATCH "/v1/realms/$PROD/consumers/$ALICE?wait=applied" "{\"consumer_groups\":[${groups%,}],\"tags\":[${tags%,}]}"
  start_lua
  who "$SECRET" "realm:us:$PROD"
  [ "$(tells '.consumer.groups')" = "$(jq -c '. as $own | ["gold"] + $own' <<<"[${groups%,}]")" ]
  [ "$(tells '.consumer.tags')" = "$(jq -c . <<<"[${tags%,}]")" ]
}

@test "status is what realmctl says" {
  start_people
  start_lua
  expect 200 /status
  [ "$(tells '.[0].control_plane_id')" = "$CP_A" ]
  [ "$(tells '.[0].agent_pid')" = "$AGENT_PID" ]
  [ "$(tells '.[0].mode')" = retained ]
  [ "$(tells '.[0].sources[0] | [.region, .state, .generation, .epoch, .version, .realms, .consumers, .keys]')" = \
    "$(ctl edge --json stat | jq -c '.sources[0] | [.region, .state, .generation, .epoch, .version, .realms, .consumers, .keys]')" ]
}

@test "the control plane's own consumers are found by id and username" {
  start_people
  own=$(api POST "/v2/control-planes/$CP_A/core-entities/consumers?wait=applied" '{"username":"guest"}' | jq -er .id)
  lua - "$DIR/edge" "$own" <<'LUA'
local store = assert(require("realmstore").open(arg[1]))
local guest = assert(store:find("guest"))
assert(guest.id == arg[2] and guest.username == "guest" and guest.credential_id == nil)
assert(store:find(arg[2], "us").username == "guest")
local nobody, message, code = store:find("nobody")
assert(nobody == nil and message == "not found" and code == 1)
assert(select(3, store:find("guest", "eu")) == require("realmstore").E_NOT_READY)
LUA
}

@test "what a function does not allow is nil, a text and INVALID" {
  start_people
  lua - "$DIR/edge" <<'LUA'
local realmstore = require "realmstore"
local function refused(nothing, message, code)
  assert(nothing == nil and type(message) == "string" and code == realmstore.E_INVALID, message)
end
local store = assert(realmstore.open(arg[1]))
local cp = assert(realmstore.sources("cp"))
refused(realmstore.open())
refused(realmstore.open(""))
refused(realmstore.open("/a\0b"))
refused(realmstore.open("/elsewhere", { mode = "fast" }))
refused(realmstore.sources())
local many = {}
for i = 1, 65 do
  many[i] = "cp"
end
refused(realmstore.sources(unpack(many)))
assert(realmstore.sources(unpack(many, 1, 64)))
refused(realmstore.sources("cp", nil))
refused(realmstore.sources("cp", "realm:us:not-a-uuid"))
refused(realmstore.sources("cp\0"))
refused(store:lookup(nil, "key"))
refused(store:lookup({ "cp" }, "key"))
refused(store:lookup(cp))
refused(store:lookup(cp, 1))
refused(store:find())
refused(store:find("a\0b"))
refused(store:find("a", 1))
assert(realmstore.open(arg[1] .. "//") == store)
assert(store:status())
store:close()
store:close()
assert(store:status())
LUA
}

@test "what the binding declares is what realmstore.h declares" {
  cc -E -P -I"$ROOT/include" -x c "$ROOT/include/realmstore.h" >"$DIR/header"
  cat >"$DIR/sizes.c" <<'C'
#include <realmstore.h>
#include <stdio.h>
#define SIZE(type) printf("%s - %zu\n", #type, sizeof(type))
#define AT(type, member) printf("%s %s %zu\n", #type, #member, offsetof(type, member))
int main(void)
{
    SIZE(rs_options), SIZE(rs_source), SIZE(rs_answer), SIZE(rs_source_status), SIZE(rs_status_info);
    AT(rs_options, mode), AT(rs_source, region), AT(rs_source_status, version), AT(rs_source_status, keys), AT(rs_answer, scope), AT(rs_answer, age_ms), AT(rs_answer, needed);
    AT(rs_status_info, retention_ms), AT(rs_status_info, n_sources), AT(rs_status_info, sources);
}
C
  cc -I"$ROOT/include" "$DIR/sizes.c" -o "$DIR/sizes"
  "$DIR/sizes" >"$DIR/sizes.txt"
  [ "$(wc -l <"$DIR/sizes.txt")" = 15 ]
  lua "$ROOT/tests/lua/declarations.lua" "$ROOT/gateway/lua/realmstore.lua" "$DIR/header" "$DIR/sizes.txt"
}
