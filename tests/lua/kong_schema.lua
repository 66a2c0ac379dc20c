-- kong_schema.lua - the plugin's schema without Kong: its fields, and configurations with their defaults.
package.preload["kong.db.schema.typedefs"] = function()
  return {
    no_consumer = { type = "foreign", reference = "consumers", eq = ngx and ngx.null },
    protocols_http = { type = "set", default = { "grpc", "grpcs", "http", "https" } },
    header_name = { type = "string" },
  }
end

local schema = require "kong.plugins.realm-auth.schema"

-- The record `name` among a list of fields, each a table of one.
local function field(fields, name)
  for _, entry in ipairs(fields) do
    if entry[name] then
      return entry[name]
    end
  end
end

local fields = assert(field(schema.fields, "config")).fields

local kong_schema = { schema = schema, fields = fields }

function kong_schema.config(values)
  local config = {}
  for _, entry in ipairs(fields) do
    local name, attributes = next(entry)
    config[name] = attributes.default
  end
  for name, value in pairs(values) do
    assert(field(fields, name), name)
    config[name] = value
  end
  return config
end

return kong_schema
