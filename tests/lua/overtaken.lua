-- overtaken.lua DIR SOURCE KEY CHANGE - in retained mode, runs the command CHANGE while an answer is being copied,
-- until the library says the snapshot was overtaken. CHANGE revokes KEY first: a second look finds nobody.
local ffi = require "ffi"
local realmstore = require "realmstore"
local dir, source, key, change = unpack(arg)
local lib = ffi.load("librealmstore.so.1")
local store = assert(realmstore.open(dir, { mode = "retained" }))
local sources = assert(realmstore.sources(source))

local function snapshot_at(level)
  for i = 1, math.huge do
    local name, value = debug.getlocal(level, i)
    if name == "snapshot" or not name then
      return value
    end
  end
end

-- The snapshot of whoever is copying an answer above.
local function current_snapshot()
  for level = 3, math.huge do
    if not debug.getinfo(level, "f") then
      return nil
    end
    local snapshot = snapshot_at(level + 1)
    if snapshot then
      return snapshot
    end
  end
end

assert(store:lookup(sources, key))
jit.off()
jit.flush()
local overtaken = 0
debug.sethook(function()
  if debug.getinfo(2, "n").name ~= "copy_text" then
    return
  end
  debug.sethook()
  local snapshot = assert(current_snapshot())
  repeat
    assert(os.execute(change) == 0)
  until lib.rs_check(snapshot) == realmstore.E_OVERTAKEN
  overtaken = overtaken + 1
end, "c")
local consumer, message, code = store:lookup(sources, key)
assert(overtaken == 1)
assert(consumer == nil and message == "not found" and code == realmstore.NOT_FOUND, message)
