-- wrk: GET a path with a random key, `wrk … -s random-key.lua URL -- PREFIX KEYS`, or PREFIX alone where KEYS is 0. One line of results at the end.
local counter = 0

function setup(thread)
   thread:set("number", counter)
   counter = counter + 1
end

function init(arguments)
   math.randomseed(os.time() * 16 + number)
   prefix, keys = arguments[1], tonumber(arguments[2])
end

function request()
   return wrk.format("GET", keys > 0 and prefix .. math.random(0, keys - 1) or prefix)
end

function done(summary, latency, requests)
   local errors = summary.errors
   io.write(string.format("RESULT %d %d %d %d\n", summary.requests, summary.duration, latency:percentile(99),
      errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
