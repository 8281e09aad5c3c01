-- For wrk: GET with one token after the other, and the figures as a line of JSON.
-- wrk … -s requests.lua URL -- PATH HEADER PREFIX FILE (a token in each line) PAUSE (milliseconds that
-- each connection waits before a request)

local requests, next_one, pause = {}, 0, 0

function init(arguments)
   local path, header, prefix, file = arguments[1], arguments[2], arguments[3], arguments[4]
   pause = tonumber(arguments[5])
   for token in io.lines(file) do
      requests[#requests + 1] = wrk.format("GET", path, { [header] = prefix .. token })
   end
end

function request()
   next_one = next_one % #requests + 1
   return requests[next_one]
end

function delay()
   return pause
end

function done(summary, latency)
   local errors = summary.errors
   local failed = errors.connect + errors.read + errors.write + errors.timeout + errors.status
   print(string.format('{"requests": %d, "seconds": %.6f, "failed": %d, "p50_ms": %.3f, "p99_ms": %.3f, "max_ms": %.3f}',
      summary.requests, summary.duration / 1e6, failed,
      latency:percentile(50) / 1e3, latency:percentile(99) / 1e3, latency.max / 1e3))
end
