--- key.lua - which API key a request carries, and taking keys out. For each name in order: header, query, body; the
-- first string that is found counts, even an empty one. What is hidden is hidden under all names and in all places,
-- whatever becomes of the request.
local kong = kong

local MISSING = "No API key found in request"
local DUPLICATE = "Duplicate API key found"
local TOO_LARGE = "Request body is too large to be searched for keys"
local NO_JSON = "Request body cannot be searched for keys"
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

-- ---- finding ----

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

local function find_first(conf, headers, read_body)
  for _, name in ipairs(conf.key_names) do
    local value = find(conf, name, headers, read_body)
    if type(value) == "table" then
      return nil, DUPLICATE
    elseif value == "" then
      break
    elseif type(value) == "string" then
      return value
    end
  end
  return nil, MISSING
end

-- ---- hiding ----

-- What of a parameter stands before what may be taken for a key: usually all. An upstream may take letters of both
-- cases for equal, and split at a ; too; a key may have a ; in it.
local function harmless(pair, names)
  local at = 1
  for piece in (pair .. ";"):gmatch("([^;]*);") do
    if names[ngx.unescape_uri(piece:match("^[^=]*")):lower()] then
      return pair:sub(1, math.max(at - 2, 0))
    end
    at = at + #piece + 1
  end
  return pair
end

-- The parameters without those of the names, and whether there were some.
local function cut(args, names)
  local kept, found = {}, false
  for pair in (args .. "&"):gmatch("([^&]*)&") do
    local left = harmless(pair, names)
    found = found or left ~= pair
    if left ~= "" or pair == "" then
      kept[#kept + 1] = left
    end
  end
  return table.concat(kept, "&"), found
end

local function hide_in_query(names)
  local args, found = cut(kong.request.get_raw_query(), names)
  if found then
    kong.service.request.set_raw_query(args)
  end
end

-- As an upstream may, to which x_api_key and X-Api-Key are the same.
local function fold(name)
  return (name:lower():gsub("[^a-z0-9]", "-"))
end

-- A page here may be where the caller comes from. Of several headers nobody can say which one counts, and a fragment
-- does not belong there.
local function hide_in_referer(names, referer)
  if type(referer) == "table" then
    kong.service.request.clear_header("Referer")
    return
  end
  local before, query, fragment = (referer or ""):match("^([^?#]*)%??([^#]*)(.*)$")
  local args, found = cut(query, names)
  if found or fragment ~= "" then
    kong.service.request.set_header("Referer", before .. (args ~= "" and "?" .. args or ""))
  end
end

local function hide_in_headers(names, headers)
  local folded = {}
  for name in pairs(names) do
    folded[fold(name)] = true
    kong.service.request.clear_header(name)
    kong.service.request.clear_header((name:gsub("_", "-"))) -- which `name` was found under, too
  end
  for name in pairs(headers) do
    if folded[fold(name)] then
      kong.service.request.clear_header(name)
    end
  end
  hide_in_referer(names, headers["referer"])
end

local function media_type(headers)
  local value = headers["content-type"]
  value = type(value) == "table" and value[1] or value
  return type(value) == "string" and value:match("^[^;%s]*"):lower() or ""
end

local function mentions(text, names)
  text = text:lower()
  for name in pairs(names) do
    if text:find(name:lower(), 1, true) then
      return true
    end
  end
  return text:find("\\u", 1, true) ~= nil
end

local function hide_in_form(names)
  local text = kong.request.get_raw_body()
  if not text then
    return 413, TOO_LARGE
  end
  local args, found = cut(text, names)
  if found then
    kong.service.request.set_raw_body(args)
  end
end

local function hide_in_members(names, body, is_json)
  local found = false
  if body == EMPTY then
    local text = kong.request.get_raw_body()
    if not text then
      return 413, TOO_LARGE
    elseif is_json and mentions(text, names) then
      return 400, NO_JSON
    end
  end
  for name in pairs(body) do
    if type(name) == "string" and names[name:lower()] then
      found = true
      body[name] = nil
    end
  end
  if found then
    kong.service.request.set_body(body)
  end
end

-- Gives a code and a message when a body cannot be searched.
local function hide_in_body(names, headers, read_body)
  local kind = media_type(headers)
  if kind == "application/x-www-form-urlencoded" then
    return hide_in_form(names)
  elseif kind == "application/json" or kind == "multipart/form-data" then
    return hide_in_members(names, read_body(), kind == "application/json")
  end
end

local function hide(conf, headers, read_body)
  local names = {}
  for _, name in ipairs(conf.key_names) do
    names[name:lower()] = true
  end
  hide_in_query(names)
  hide_in_headers(names, headers)
  if conf.key_in_body then
    return hide_in_body(names, headers, read_body)
  end
end

local key = {}

--- The key, or nil and a message; with hide_credentials keys are out of sight then. A third value is the code for a
-- request that cannot go on, since it has a body in which nothing can be hidden.
function key.take(conf, headers)
  local read_body = body_reader()
  local value, message = find_first(conf, headers, read_body)
  if conf.hide_credentials then
    local code, why = hide(conf, headers, read_body)
    if code then
      return nil, why, code
    end
  end
  return value, message
end

return key
