-- who.lua - whose key it is, as JSON: what store:lookup() returned, and the worker's number.
local cjson = require "cjson"

local names = {}
for name in (ngx.var.arg_sources or "cp"):gmatch("[^,]+") do
  names[#names + 1] = name
end

local sources = assert(realmstore.sources(unpack(names)))
local consumer, message, code, age_ms = store:lookup(sources, ngx.unescape_uri(ngx.var.http_apikey or ""))
ngx.say(cjson.encode { consumer = consumer, message = message, code = code, age_ms = age_ms, pid = ngx.worker.pid() })
