--- consumers.lua - the store, as the plugin's configurations ask it. A store that cannot be read is logged when that
-- begins, when it changes and every now and then, with a count.
local realmstore = require "realmstore"

local kong = kong

local LOG_EVERY_S = 10
local RETRY_S = 1 -- between searches for an anonymous consumer that is not there

local prepared = setmetatable({}, { __mode = "k" }) -- by configuration: what look_up() needs of it
local anonymous = {} -- by directory and name: id, or missed_at
local trouble = { code = 0, logged_at = 0, unlogged = 0 }

-- Kong has null where nothing is configured.
local function given(value)
  if value ~= ngx.null then
    return value
  end
end

local function source_text(entry)
  local region = given(entry.region)
  if entry.scope == "cp" then
    return region and "cp:" .. region or "cp"
  end
  return "realm:" .. (region and region .. ":" or "") .. tostring(given(entry.id))
end

local function source_texts(conf)
  local texts = {}
  for _, entry in ipairs(given(conf.identity_realms) or {}) do
    if given(entry) then
      texts[#texts + 1] = source_text(entry)
    end
  end
  return #texts > 0 and texts or { "cp" }
end

local function prepare(conf)
  local store, message, code = realmstore.open(conf.store_dir)
  local sources
  if store then
    sources, message, code = realmstore.sources(unpack(source_texts(conf)))
  end
  return { store = store, sources = sources, message = message, code = code }
end

local function prepared_for(conf)
  if not prepared[conf] then
    prepared[conf] = prepare(conf)
  end
  return prepared[conf]
end

local function note(code, message)
  local now = ngx.now()
  if code >= 0 then
    if trouble.code < 0 then
      kong.log.notice("the store answers again")
      trouble.code, trouble.unlogged = 0, 0
    end
  elseif trouble.code == code and now - trouble.logged_at < LOG_EVERY_S then
    trouble.unlogged = trouble.unlogged + 1
  else
    kong.log.err("cannot read the store: ", message, "; requests are answered 500 until it can (", trouble.unlogged,
      " more since the last such line)")
    trouble.code, trouble.logged_at, trouble.unlogged = code, now, 0
  end
end

-- What can be asked for this configuration; without sources, whose reason is noted, nothing can.
local function askable(conf)
  local asked = prepared_for(conf)
  if not asked.sources then
    note(asked.code, asked.message)
  end
  return asked
end

local consumers = {}

--- The consumer or nil, and realmstore's code: negative when the store cannot tell.
function consumers.look_up(conf, key)
  local asked = askable(conf)
  if not asked.sources then
    return nil, asked.code
  end
  local consumer, message, code = asked.store:lookup(asked.sources, key)
  note(code, message)
  return consumer, code
end

local function search(store, name, known)
  local consumer, message, code = store:find(known.id or name)
  if not consumer and code >= 0 and known.id then
    known.id = nil
    consumer, message, code = store:find(name)
  end
  note(code, message)
  if consumer then
    known.id = consumer.id
  elseif code >= 0 then
    known.missed_at = ngx.now()
  end
  return consumer, code
end

--- One of the control plane's own consumers by id or username: what was found stays known by its id, what was not is
-- searched again at most once a second.
function consumers.find(conf, name)
  local asked = askable(conf)
  if not asked.sources then
    return nil, asked.code
  end
  local place = conf.store_dir .. "\n" .. name
  local known = anonymous[place] or {}
  anonymous[place] = known
  local passed = known.missed_at and ngx.now() - known.missed_at
  if not known.id and passed and passed >= 0 and passed < RETRY_S then
    return nil, realmstore.NOT_FOUND
  end
  return search(asked.store, name, known)
end

return consumers
