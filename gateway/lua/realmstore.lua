--- realmstore.lua - API keys turned into consumers from the host's store, for OpenResty and Kong.
--
--     local realmstore = require "realmstore"
--     local store = assert(realmstore.open("/var/lib/realm-agent"))      -- once, e.g. init_by_lua
--     local sources = assert(realmstore.sources("realm:us:2b9c7c22-...", "cp"))
--
--     local consumer, message, code = store:lookup(sources, key)         -- per request
--     if consumer then
--       ngx.req.set_header("X-Consumer-Username", consumer.username)
--     elseif code >= 0 then                                              -- nobody's key
--       return ngx.exit(401)
--     else
--       ngx.log(ngx.ERR, message)                                        -- cannot tell
--       return ngx.exit(500)
--     end
--
-- CAVEATS FIRST
--
--  - A process must open a directory once: LMDB loses its locks otherwise. open() gives the same
--    store for the same directory, but it cannot see what another Lua VM of the process has open
--    (NGINX's stream module has its own; lua_code_cache off makes one for each request), nor the
--    NGINX module's realm_store.
--  - Nothing here yields, and nothing may: the buffers below are shared by all coroutines.
--  - Numbers above 2^53 lose their last digits.
--
-- A store opens its directory when it is first used in a process, and again after fork(), so that
-- it may be made before the workers are. While opening fails, it is tried again at most once a
-- second. What is returned is plain Lua, copied: it stays. A failure is nil, a message and a
-- negative code, RS_E_* of realmstore.h without the prefix (realmstore.E_NO_STORE).
local ffi = require "ffi"

local ffi_string = ffi.string
local tonumber, type = tonumber, type

-- tests/e2e/lua.bats compares every declaration with realmstore.h.
if not pcall(ffi.typeof, "rs_answer") then
  ffi.cdef [[
typedef struct rs_store rs_store;
enum { RS_FOUND = 0, RS_NOT_FOUND = 1, RS_STALE = 2 };
enum {
    RS_E_NO_MEMORY = -1, RS_E_INVALID = -2, RS_E_NO_STORE = -3, RS_E_FORMAT = -4,
    RS_E_CORRUPT = -5, RS_E_PERMISSION = -6, RS_E_READ_ONLY_MOUNT = -7, RS_E_FORKED = -8,
    RS_E_READERS_FULL = -9, RS_E_PID_COLLISION = -10, RS_E_NOT_READY = -11, RS_E_IO = -12,
    RS_E_BUSY = -13, RS_E_MAP_RESIZED = -14, RS_E_UNSUPPORTED = -15, RS_E_OVERTAKEN = -16,
    RS_E_TOO_SMALL = -17
};
typedef enum rs_mode { RS_MODE_AUTO = 0, RS_MODE_SLOTS = 1, RS_MODE_RETAINED = 2 } rs_mode;
typedef struct rs_options {
    size_t size; char *message; size_t message_size; rs_mode mode;
} rs_options;
typedef enum rs_scope { RS_SCOPE_REALM = 1, RS_SCOPE_CP = 2 } rs_scope;
typedef struct rs_source { rs_scope scope; uint8_t realm_id[16]; char region[64]; } rs_source;
typedef struct rs_answer {
    const char *id; const char *username; const char *custom_id; const char *credential_id;
    const char *const *groups; size_t n_groups; const char *const *tags; size_t n_tags;
    rs_scope scope; const char *realm_id; const char *realm_name; int64_t age_ms; int stale;
    size_t needed; uint64_t reserved[8];
} rs_answer;
typedef enum rs_state {
    RS_STATE_EMPTY = 0, RS_STATE_SYNCING = 1, RS_STATE_LIVE = 2, RS_STATE_DISCONNECTED = 3,
    RS_STATE_STOPPED = 4, RS_STATE_GONE = 5
} rs_state;
enum { RS_SOURCES_MAX = 32 };
typedef struct rs_source_status {
    char region[64]; rs_state state; uint32_t generation; uint8_t epoch[16]; uint64_t version;
    int64_t age_ms; int64_t commit_time_ms; uint64_t realms; uint64_t consumers; uint64_t keys;
    uint64_t verified_version; int64_t verified_ms;
} rs_source_status;
typedef struct rs_status_info {
    uint8_t control_plane_id[16]; int64_t agent_pid; int64_t retention_ms; rs_mode mode;
    size_t n_sources; rs_source_status sources[RS_SOURCES_MAX];
} rs_status_info;

const char *rs_strerror(int code);
int rs_open(rs_store **ret, const char *dir, const rs_options *options);
void rs_close(rs_store *store);
int rs_source_parse(const char *text, rs_source *ret);
int rs_lookup_copy(rs_store *store, const rs_source *sources, size_t n, const void *key,
                   size_t key_size, void *buffer, size_t buffer_size, rs_answer *ret);
int rs_find_copy(rs_store *store, const char *region, const char *name, void *buffer,
                 size_t buffer_size, rs_answer *ret);
int rs_status(rs_store *store, rs_status_info *ret);
]]
end

-- The library of the installation that this file belongs to, else the one that the system finds.
local function load_library()
  local prefix = debug.getinfo(1, "S").source:match("^@(.*/)share/lua/5%.1/realmstore%.lua$")
  if prefix then
    local found, library = pcall(ffi.load, prefix .. "lib/librealmstore.so.1")
    if found then
      return library
    end
  end
  return ffi.load("librealmstore.so.1")
end

local lib = load_library()

local E_INVALID, E_FORKED, E_TOO_SMALL = lib.RS_E_INVALID, lib.RS_E_FORKED, lib.RS_E_TOO_SMALL

local RETRY_S = 1 -- between attempts to open a store
local MESSAGE_SIZE = 512
local SOURCES_MAX = 64 -- as the NGINX module takes, and a question on demand

local modes = { auto = lib.RS_MODE_AUTO, slots = lib.RS_MODE_SLOTS, retained = lib.RS_MODE_RETAINED }
local state_names = {
  [lib.RS_STATE_EMPTY] = "empty",
  [lib.RS_STATE_SYNCING] = "syncing",
  [lib.RS_STATE_LIVE] = "live",
  [lib.RS_STATE_DISCONNECTED] = "disconnected",
  [lib.RS_STATE_STOPPED] = "stopped",
  [lib.RS_STATE_GONE] = "gone",
}

local sources_type = ffi.typeof("struct { size_t n; rs_source list[?]; }")

-- Used again by every call.
local store_out = ffi.new("rs_store *[1]")
local found = ffi.new("rs_answer")
local buffer_size = 4096 -- enough for usual consumers; grows with what is found
local buffer = ffi.new("char[?]", buffer_size)
local info -- rs_status_info; made when first wanted

local function now()
  return ngx and ngx.now and ngx.now() or os.time()
end

-- C takes texts up to their first NUL.
local function is_text(value)
  return type(value) == "string" and not value:find("%z")
end

local function failure(code, message)
  return nil, message or ffi_string(lib.rs_strerror(code)), code
end

-- ---- copying an answer ----

local function copy_text(text)
  if text ~= nil then
    return ffi_string(text)
  end
end

local function copy_list(texts, count)
  local list = {}
  for i = 1, tonumber(count) do
    list[i] = copy_text(texts[i - 1])
  end
  return list
end

-- nil: nobody was found.
local function copy_consumer()
  local id = copy_text(found.id)
  if id then
    return {
      id = id,
      username = copy_text(found.username),
      custom_id = copy_text(found.custom_id),
      credential_id = copy_text(found.credential_id),
      realm_id = copy_text(found.realm_id),
      realm_name = copy_text(found.realm_name),
      groups = copy_list(found.groups, found.n_groups),
      tags = copy_list(found.tags, found.n_tags),
      age_ms = tonumber(found.age_ms),
      stale = found.stale ~= 0,
    }
  end
end

-- ---- opening ----

local Store = {}
Store.__index = Store

local function open_handle(store)
  local message = ffi.new("char[?]", MESSAGE_SIZE)
  local options = ffi.new("rs_options", ffi.sizeof("rs_options"), message, MESSAGE_SIZE, store.mode)
  local code = lib.rs_open(store_out, store.dir, options)
  store.tried_at = now()
  store.code, store.message = code, ffi_string(message)
  if store.message == "" then
    store.message = nil
  end
  if code == 0 then
    store.handle = ffi.gc(store_out[0], lib.rs_close)
  end
end

-- nil: it cannot be opened, or was tried just now; store.code and store.message say why.
local function opened_handle(store)
  local tried_at = store.tried_at
  if not store.handle then
    local passed = tried_at and now() - tried_at
    if not passed or passed >= RETRY_S or passed < 0 then
      open_handle(store)
    end
  end
  return store.handle
end

local function close_handle(store)
  local handle = store.handle
  if handle then
    store.handle = nil
    lib.rs_close(ffi.gc(handle, nil))
  end
  store.tried_at = nil
end

-- Calls act(handle, ...) on the open store; once more in a child of the process that opened it.
local function with_handle(store, act, ...)
  local handle = opened_handle(store)
  if not handle then
    return store.code
  end
  local code, result, age_ms = act(handle, ...)
  if code ~= E_FORKED then
    return code, result, age_ms
  end
  close_handle(store)
  handle = opened_handle(store)
  if not handle then
    return store.code
  end
  return act(handle, ...)
end

-- ---- asking ----

local function look_up(handle, sources, key)
  return lib.rs_lookup_copy(handle, sources.list, sources.n, key, #key, buffer, buffer_size, found)
end

local function find(handle, region, name)
  return lib.rs_find_copy(handle, region, name, buffer, buffer_size, found)
end

local function query_handle(handle, query, a, b)
  local answer = query(handle, a, b)
  while answer == E_TOO_SMALL do
    buffer_size = tonumber(found.needed)
    buffer = ffi.new("char[?]", buffer_size)
    answer = query(handle, a, b)
  end
  if answer < 0 then
    return answer
  end
  return answer, copy_consumer(), tonumber(found.age_ms)
end

local function query_store(store, query, a, b)
  local answer, consumer, age_ms = with_handle(store, query_handle, query, a, b)
  if consumer then
    return consumer, nil, answer
  elseif answer < 0 then
    return failure(answer, not store.handle and store.message)
  end
  local _, message = failure(answer)
  return nil, message, answer, age_ms
end

-- ---- what a store can do ----

--- Looks a key up in the sources in order. Found: the consumer, nil, and FOUND or STALE (also
-- consumer.stale). Not found: nil, a text, NOT_FOUND or STALE, and the answer's age in ms. Else
-- nil, a message and a negative code, which is not a "no".
function Store:lookup(sources, key)
  if not ffi.istype(sources_type, sources) or type(key) ~= "string" then
    return failure(E_INVALID)
  end
  return query_store(self, look_up, sources, key)
end

--- Finds one of the control plane's own consumers by id or username, in one region or in all.
-- Returns as lookup() does; the consumer has no credential_id. By username it may read all of them:
-- find once, and keep the id.
function Store:find(name, region)
  if not is_text(name) or (region ~= nil and not is_text(region)) then
    return failure(E_INVALID)
  end
  return query_store(self, find, region, name)
end

local function uuid(bytes)
  local digits = {}
  for i = 0, 15 do
    digits[i + 1] = ("%02x"):format(bytes[i])
  end
  return (table.concat(digits):gsub("^(%x%x%x%x%x%x%x%x)(%x%x%x%x)(%x%x%x%x)(%x%x%x%x)", "%1-%2-%3-%4-"))
end

local function read_status(handle)
  info = info or ffi.new("rs_status_info")
  return lib.rs_status(handle, info)
end

--- What the store holds and how old it is: control_plane_id, agent_pid (0: no agent runs),
-- retention_ms, mode ("slots", "retained"), and sources, a list of region, state ("empty",
-- "syncing", "live", "disconnected", "stopped", "gone"), generation, epoch, version, age_ms (-1: never
-- heard), commit_time_ms, realms, consumers, keys, verified_version (0: none yet), verified_ms.
function Store:status()
  local code = with_handle(self, read_status)
  if code < 0 then
    return failure(code, not self.handle and self.message)
  end
  local sources = {}
  for i = 0, tonumber(info.n_sources) - 1 do
    local source = info.sources[i]
    sources[i + 1] = {
      region = copy_text(source.region),
      state = state_names[tonumber(source.state)],
      generation = source.generation,
      epoch = uuid(source.epoch),
      version = tonumber(source.version),
      age_ms = tonumber(source.age_ms),
      commit_time_ms = tonumber(source.commit_time_ms),
      realms = tonumber(source.realms),
      consumers = tonumber(source.consumers),
      keys = tonumber(source.keys),
      verified_version = tonumber(source.verified_version),
      verified_ms = tonumber(source.verified_ms),
    }
  end
  return {
    control_plane_id = uuid(info.control_plane_id),
    agent_pid = tonumber(info.agent_pid),
    retention_ms = tonumber(info.retention_ms),
    mode = info.mode == lib.RS_MODE_RETAINED and "retained" or "slots",
    sources = sources,
  }
end

--- Closes the directory in this process; the next call opens it again. Not needed: the collector
-- closes what is open when the Lua VM ends.
function Store:close()
  close_handle(self)
end

-- ---- values of headers ----

local function continues(byte, low, high)
  return byte and byte >= (low or 0x80) and byte <= (high or 0xbf)
end

-- The code point at `at` and its bytes (RFC 3629); nil: there is none.
local function code_point(text, at)
  local a, b, c, d = text:byte(at, at + 3)
  if a < 0x80 then
    return a, 1
  elseif a >= 0xc2 and a <= 0xdf and continues(b) then
    return (a - 0xc0) * 0x40 + b - 0x80, 2
  elseif a >= 0xe0 and a <= 0xef and continues(b, a == 0xe0 and 0xa0, a == 0xed and 0x9f) and continues(c) then
    return (a - 0xe0) * 0x1000 + (b - 0x80) * 0x40 + c - 0x80, 3
  elseif a >= 0xf0 and a <= 0xf4 and continues(b, a == 0xf0 and 0x90, a == 0xf4 and 0x8f) and continues(c) and
    continues(d) then
    return (a - 0xf0) * 0x40000 + (b - 0x80) * 0x1000 + (c - 0x80) * 0x40 + d - 0x80, 4
  end
end

-- As base/utf8.c has them.
local function is_control(c)
  return c < 0x20 or (c >= 0x7f and c < 0xa0) or c == 0x061c or c == 0x200e or c == 0x200f or
    (c >= 0x2028 and c <= 0x202e) or (c >= 0x2066 and c <= 0x2069)
end

local function is_blank(c)
  return c == 0x20 or c == 0xa0 or c == 0x1680 or (c >= 0x2000 and c <= 0x200b) or c == 0x202f or c == 0x205f or
    c == 0x3000 or c == 0xfeff
end

local function percent(byte)
  return ("%%%02X"):format(byte:byte())
end

local function escape(text, in_list)
  if not text:find("[^\33-\126]") and not (in_list and text:find(",", 1, true)) then
    return text
  end
  local parts, at = {}, 1
  while at <= #text do
    local c, size = code_point(text, at)
    local piece = text:sub(at, at + (size or 1) - 1)
    local at_end = at == 1 or at + #piece > #text
    if not c or is_control(c) or (in_list and piece == ",") or (at_end and is_blank(c)) then
      piece = piece:gsub(".", percent)
    end
    parts[#parts + 1] = piece
    at = at + (size or 1)
  end
  return table.concat(parts)
end

-- ---- the module ----

local realmstore = { FOUND = lib.RS_FOUND, NOT_FOUND = lib.RS_NOT_FOUND, STALE = lib.RS_STALE }

for _, name in ipairs {
  "NO_MEMORY", "INVALID", "NO_STORE", "FORMAT", "CORRUPT", "PERMISSION", "READ_ONLY_MOUNT", "FORKED", "READERS_FULL",
  "PID_COLLISION", "NOT_READY", "IO", "BUSY", "MAP_RESIZED", "UNSUPPORTED", "OVERTAKEN",
  "TOO_SMALL",
} do
  realmstore["E_" .. name] = lib["RS_E_" .. name]
end

local stores = {} -- by directory

--- The store at `dir`; it need not be there yet. options.mode: "auto" (the default), "slots" or
-- "retained", as RS_MODE_*; the first call for a directory decides.
function realmstore.open(dir, options)
  local mode = modes[options and options.mode or "auto"]
  if not is_text(dir) or dir == "" or not mode then
    return failure(E_INVALID)
  end
  dir = dir:match("^(.-)/*$") .. (dir:find("[^/]") and "" or "/")
  stores[dir] = stores[dir] or setmetatable({ dir = dir, mode = mode }, Store)
  return stores[dir]
end

--- Where keys are looked for, in order: "realm:REGION:UUID", "realm:UUID", "cp", "cp:REGION". Made
-- once, from the configuration; for lookup() alone.
function realmstore.sources(...)
  local n = select("#", ...)
  if n == 0 then
    return failure(E_INVALID, "no source is named")
  elseif n > SOURCES_MAX then
    return failure(E_INVALID, n .. " sources are named; " .. SOURCES_MAX .. " are the most")
  end
  local sources = sources_type(n, n)
  for i = 1, n do
    local text = select(i, ...)
    if not is_text(text) or lib.rs_source_parse(text, sources.list[i - 1]) ~= 0 then
      return failure(E_INVALID, tostring(text) .. " is none of realm:REGION:UUID, realm:UUID, cp, cp:REGION")
    end
  end
  return sources
end

--- A name as the value of a header: controls, marks that turn the direction of writing, bytes that are no UTF-8 and
-- blanks at the ends are percent-encoded.
function realmstore.header_value(text)
  return escape(text, false)
end

--- Groups as the value of a header, separated by a comma and a space. A comma in a group is percent-encoded, so that
-- it does not become two.
function realmstore.header_list(texts)
  local escaped = {}
  for i = 1, #texts do
    if texts[i] ~= "" then
      escaped[#escaped + 1] = escape(texts[i], true)
    end
  end
  return table.concat(escaped, ", ")
end

return realmstore
