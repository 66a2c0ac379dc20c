--- key.lua - which API key a request carries, and taking it out. For each name in order: header, query, body; the first
-- string that is found counts, even an empty one.
local kong = kong

local MISSING = "No API key found in request"
local DUPLICATE = "Duplicate API key found"
local EMPTY = {}

-- The request's body, when there is one that can be read; read once.
local function body_reader()
  local body
  return function()
    if not body then
      local err
      body, err = kong.request.get_body()
      if err or type(body) ~= "table" then
        body = EMPTY
      end
    end
    return body
  end
end

local function hide(conf, name, read_body)
  local request = kong.service.request
  request.clear_query_arg(name)
  request.clear_header(name)
  request.clear_header((name:gsub("_", "-"))) -- which `name` was found under, too
  if conf.key_in_body and read_body()[name] ~= nil then
    local body = read_body()
    body[name] = nil
    request.set_body(body)
  end
end

local function find(conf, name, headers, read_body)
  local value = conf.key_in_header and headers[name] or nil
  if value == nil and conf.key_in_query then
    value = kong.request.get_query()[name]
  end
  if value == nil and conf.key_in_body then
    value = read_body()[name]
  end
  return value
end

local key = {}

--- The key, out of sight with hide_credentials; or nil and a message.
function key.take(conf, headers)
  local read_body = body_reader()
  for _, name in ipairs(conf.key_names) do
    local value = find(conf, name, headers, read_body)
    if type(value) == "table" then
      return nil, DUPLICATE
    elseif type(value) == "string" then
      if conf.hide_credentials then
        hide(conf, name, read_body)
      end
      if value == "" then
        break
      end
      return value
    end
  end
  return nil, MISSING
end

return key
