--- identity.lua - who asks, for Kong and its other plugins, and for the upstream. Headers are compared as a CGI-like
-- upstream would fold their names, so that X_Consumer_ID does not pass for X-Consumer-ID.
local realmstore = require "realmstore"

local kong = kong

local ID = "X-Consumer-ID"
local USERNAME = "X-Consumer-Username"
local CUSTOM_ID = "X-Consumer-Custom-ID"
local CREDENTIAL = "X-Credential-Identifier"
local ANONYMOUS = "X-Anonymous-Consumer"
local GROUPS = "X-Consumer-Groups"

local folded = {}
for _, name in ipairs { ID, USERNAME, CUSTOM_ID, CREDENTIAL, ANONYMOUS, GROUPS } do
  folded[name:lower()] = name
end

local function set_header(name, value)
  if value and value ~= "" then
    kong.service.request.set_header(name, value)
  end
end

-- A value from the store may hold what must not stand in a header.
local function set_text(name, value)
  set_header(name, value and realmstore.header_value(value))
end

local identity = {}

--- Takes away what the client says about itself. `headers`: the request's.
function identity.clear(headers)
  for name in pairs(headers) do
    if folded[name:lower():gsub("[^a-z0-9]", "-")] then
      kong.service.request.clear_header(name)
    end
  end
end

--- The request is this consumer's, who stands in for others when `is_anonymous`.
function identity.set(consumer, headers, is_anonymous)
  local credential = not is_anonymous and { id = consumer.credential_id, consumer = { id = consumer.id } } or nil

  kong.client.authenticate({
    id = consumer.id,
    username = consumer.username,
    custom_id = consumer.custom_id,
    tags = consumer.tags,
  }, credential)
  kong.ctx.shared.authenticated_groups = consumer.groups -- acl looks here, with always_use_authenticated_groups
  identity.clear(headers)
  set_header(ID, consumer.id)
  set_text(USERNAME, consumer.username)
  set_text(CUSTOM_ID, consumer.custom_id)
  set_header(CREDENTIAL, consumer.credential_id)
  set_header(ANONYMOUS, is_anonymous and "true")
  set_header(GROUPS, realmstore.header_list(consumer.groups))
end

return identity
