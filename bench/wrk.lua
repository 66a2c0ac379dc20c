-- wrk.lua - requests with random API keys, and the figures in one line, for bench/gateway.
--
--     wrk ... -s bench/wrk.lua URL -- KEYS_FILE COUNT
--
-- A request with each of the first COUNT keys of the file is made before the clock runs. Prints
--     FIGURES requests microseconds p99 failed closed
-- where failed counts answers other than 2xx and 3xx, timeouts, and connections that could not be made or written to,
-- and closed those that ended while a request was on its way: idle ones at a reload, or worse.
local requests = {}

function init(args)
  local left = tonumber(args[2])
  for key in io.lines(args[1]) do
    if left == 0 then
      break
    end
    left = left - 1
    requests[#requests + 1] = wrk.format("GET", nil, { Host = "bench", apikey = key })
  end
  math.randomseed(#requests)
end

function request()
  return requests[math.random(#requests)]
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format("FIGURES %d %d %d %d %d\n", summary.requests, summary.duration, latency:percentile(99),
    errors.status + errors.timeout + errors.connect + errors.write, errors.read))
end
