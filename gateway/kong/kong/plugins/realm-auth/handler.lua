--- realm-auth - who asks, by API key, from the host's store. What Kong's key-auth does, with consumers that Kong's own
-- configuration does not hold. key.lua finds the key, consumers.lua asks the store, identity.lua tells Kong and the
-- upstream.
local consumers = require "kong.plugins.realm-auth.consumers"
local identity = require "kong.plugins.realm-auth.identity"
local request_key = require "kong.plugins.realm-auth.key"

local kong = kong

local RealmAuth = {
  VERSION = "0.1.0",
  PRIORITY = 1250, -- key-auth's
}

-- As many as Kong gives. With more, a forged header could hide behind them.
local MAX_HEADERS = 1000

local UNAUTHORIZED = "Unauthorized"
local UNEXPECTED = "An unexpected error occurred"

-- The consumer, or nil, a code and a message to refuse the request with.
local function authenticate(conf, key, message)
  if not key then
    return nil, 401, message
  end
  local consumer, code = consumers.look_up(conf, key)
  if code < 0 then
    return nil, 500, UNEXPECTED
  elseif not consumer or (consumer.stale and conf.on_stale == "deny") then
    return nil, 401, UNAUTHORIZED
  end
  return consumer
end

local function refuse(conf, status, message)
  local headers
  if status == 401 then
    local realm = conf.realm
    headers = { ["WWW-Authenticate"] = realm and realm ~= ngx.null and ('Key realm="%s"'):format(realm) or "Key" }
  end
  return kong.response.error(status, message, headers)
end

-- Continues as the anonymous consumer.
local function stand_in(conf, name, headers)
  local consumer, code = consumers.find(conf, name)
  if consumer then
    return identity.set(consumer, headers, true)
  elseif code < 0 then
    return kong.response.error(500, UNEXPECTED)
  end
  local message = "anonymous consumer " .. name .. " is configured but doesn't exist"
  kong.log.err(message)
  return kong.response.error(500, message)
end

function RealmAuth:access(conf)
  local headers, err = kong.request.get_headers(MAX_HEADERS)
  if err == "truncated" then
    return kong.response.error(431, "Too many request headers")
  end
  local anonymous = conf.anonymous ~= ngx.null and conf.anonymous or nil
  local is_free = not conf.run_on_preflight and kong.request.get_method() == "OPTIONS"
  local is_known = anonymous and kong.client.get_credential() -- another plugin knows who it is
  local key, message, code

  if conf.hide_credentials or not (is_free or is_known) then
    key, message, code = request_key.take(conf, headers)
    if code then
      return kong.response.error(code, message)
    end
  end
  if is_free then
    if not kong.client.get_consumer() and not kong.client.get_credential() then
      identity.clear(headers)
    end
    return
  end
  if is_known then
    return
  end

  local consumer, status, why = authenticate(conf, key, message)
  if consumer then
    return identity.set(consumer, headers)
  elseif anonymous and status == 401 then
    return stand_in(conf, anonymous, headers)
  end
  return refuse(conf, status, why)
end

return RealmAuth
