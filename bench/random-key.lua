-- wrk: a request with a random key, `wrk … -s random-key.lua URL -- PREFIX KEYS METHOD BODY`, or PREFIX alone if KEYS is 0. BODY is
-- JSON, or empty. One line of results at the end.
local counter = 0

function setup(thread)
   thread:set("number", counter)
   counter = counter + 1
end

function init(arguments)
   math.randomseed(os.time() * 16 + number)
   prefix, keys, method, body = arguments[1], tonumber(arguments[2]), arguments[3], arguments[4]
   if body == "" then
      body = nil
   else
      wrk.headers["Content-Type"] = "application/json"
   end
end

function request()
   return wrk.format(method, keys > 0 and prefix .. math.random(0, keys - 1) or prefix, nil, body)
end

function done(summary, latency, requests)
   local errors = summary.errors
   io.write(string.format("RESULT %d %d %d %d\n", summary.requests, summary.duration, latency:percentile(99),
      errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
