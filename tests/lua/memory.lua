-- memory.lua DIR SOURCE KEY - lookups, of KEY and of others, leave nothing behind in Lua's memory.
local realmstore = require "realmstore"
local dir, source, key = unpack(arg)
local store = assert(realmstore.open(dir))
local sources = assert(realmstore.sources(source))

local function kilobytes_after(n)
  for _ = 1, n do
    assert(store:lookup(sources, key))
    assert(not store:lookup(sources, "wrong"))
  end
  collectgarbage()
  collectgarbage()
  return collectgarbage("count")
end

-- The compiler keeps some, now and then; a leak would show in every round.
local before = kilobytes_after(20000)
for _ = 1, 5 do
  local after = kilobytes_after(20000)
  if after - before < 1 then
    return
  end
  before = after
end
error("each 40,000 lookups leave some memory behind")
