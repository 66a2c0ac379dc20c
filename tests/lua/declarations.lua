-- declarations.lua BINDING HEADER SIZES - every declaration of the binding stands in the preprocessed header, word for
-- word, and types are as large as the C compiler makes them. SIZES: lines of "TYPE MEMBER OFFSET" and "TYPE - SIZE".
local ffi = require "ffi"
local binding, header, sizes = unpack(arg)

local function read(path)
  local file = assert(io.open(path))
  local text = file:read("*a")
  file:close()
  return text
end

-- The statements of C text, with one space between tokens; those in braces belong to what is around.
local function statements(text)
  local list = {}
  text = text:gsub("__attribute__%s*%b()", ""):gsub("([%p])", function(mark)
    return mark == "_" and mark or " " .. mark .. " "
  end)
  text = text:gsub("%b{}", function(block)
    return (block:gsub(";", "\1"))
  end)
  for statement in text:gmatch("([^;]+);") do
    statement = statement:gsub("%s+", " "):match("^ ?(.-) ?$")
    list[#list + 1] = statement
    list[statement] = true
  end
  return list
end

local known = statements(read(header))
local declared = statements(assert(read(binding):match("ffi%.cdef %[%[(.-)%]%]")))
assert(#declared > 15)
for _, statement in ipairs(declared) do
  assert(known[statement], "realmstore.h does not declare: " .. statement:gsub("\1", ";"))
end

require "realmstore"
local lines = 0
for type_name, member, number in read(sizes):gmatch("(%S+) (%S+) (%d+)") do
  local ours = member == "-" and ffi.sizeof(type_name) or ffi.offsetof(type_name, member)
  assert(ours == tonumber(number), ("%s %s: %d, the compiler says %s"):format(type_name, member, ours, number))
  lines = lines + 1
end
assert(lines > 0)
