-- kong_pdk.lua - as much of Kong's plugin development kit as realm-auth calls, over NGINX's own Lua functions, which
-- are what Kong's are made of. Values that Kong refuses are refused here, too.
local cjson = require "cjson"

local function is_string(value, what)
  if type(value) ~= "string" then
    error(what .. " must be a string", 3)
  end
end

-- ---- request ----

local function media_type()
  return (ngx.req.get_headers()["content-type"] or ""):match("^[^;]*"):lower()
end

-- Kong does not read what NGINX has put into a file.
local function get_raw_body()
  ngx.req.read_body()
  if ngx.req.get_body_file() then
    return nil, "request body did not fit into client body buffer, consider raising 'client_body_buffer_size'"
  end
  return ngx.req.get_body_data() or ""
end

local function get_body()
  local text, err = get_raw_body()
  if not text then
    return nil, err
  elseif media_type() == "application/x-www-form-urlencoded" then
    return ngx.req.get_post_args()
  elseif media_type() == "application/json" then
    local fine, body = pcall(cjson.decode, text)
    if fine and type(body) == "table" then
      return body
    end
    return nil, "invalid json body"
  end
  return nil, "unsupported content type"
end

local function get_headers(max)
  assert(max == nil or (type(max) == "number" and max >= 1 and max <= 1000), "max_headers")
  return ngx.req.get_headers(max)
end

-- ---- the request to the upstream ----

local upstream = {}

function upstream.set_header(name, value)
  is_string(name, "header")
  is_string(value, "value")
  ngx.req.set_header(name, value)
end

function upstream.clear_header(name)
  is_string(name, "header")
  ngx.req.clear_header(name)
end

function upstream.set_raw_query(query)
  is_string(query, "query")
  ngx.req.set_uri_args(query)
end

function upstream.set_raw_body(body)
  is_string(body, "body")
  ngx.req.read_body()
  ngx.req.set_body_data(body)
end

function upstream.set_body(body)
  ngx.req.set_body_data(media_type() == "application/json" and cjson.encode(body) or ngx.encode_args(body))
end

-- ---- client, response, log ----

local client = {}

function client.authenticate(consumer, credential)
  assert(type(consumer) == "table" and (credential == nil or type(credential) == "table"))
  ngx.ctx.consumer, ngx.ctx.credential = consumer, credential
end

function client.get_consumer()
  return ngx.ctx.consumer
end

function client.get_credential()
  return ngx.ctx.credential
end

local response = {}

function response.error(status, message, headers)
  assert(type(status) == "number" and status >= 400 and status <= 599)
  is_string(message, "message")
  for name, value in pairs(headers or {}) do
    ngx.header[name] = value
  end
  ngx.status = status
  ngx.header["Content-Type"] = "application/json; charset=utf-8"
  ngx.print(('{\n  "message":"%s",\n  "request_id":"%s"\n}'):format(message, ngx.var.request_id))
  return ngx.exit(status)
end

local log = {}
for level, number in pairs { err = ngx.ERR, warn = ngx.WARN, notice = ngx.NOTICE, info = ngx.INFO } do
  log[level] = function(...)
    ngx.log(number, "[realm-auth] ", ...)
  end
end

local per_request = {
  __index = function(_, name)
    return (ngx.ctx.shared or {})[name]
  end,
  __newindex = function(_, name, value)
    ngx.ctx.shared = ngx.ctx.shared or {}
    ngx.ctx.shared[name] = value
  end,
}

return {
  request = {
    get_headers = get_headers,
    get_query = ngx.req.get_uri_args,
    get_method = ngx.req.get_method,
    get_body = get_body,
    get_raw_body = get_raw_body,
    get_raw_query = function()
      return ngx.var.args or ""
    end,
  },
  service = { request = upstream },
  client = client,
  response = response,
  log = log,
  ctx = { shared = setmetatable({}, per_request) },
}
