-- What wrk's scripts have in common: they judge answers and report in the same words.
--
-- A script sets `expected_status` and `wanted` (what the answer's text must have in it; nil: anything) in `init`, and counts its
-- requests in `made`. Globals, because wrk reads them across its threads.

good, bad, made = 0, 0, 0
first_bad = ""

function response(status, _, text)
  if status == expected_status and (not wanted or text:find(wanted, 1, true)) then
    good = good + 1
  else
    bad = bad + 1
    if first_bad == "" then first_bad = status .. " " .. text:sub(1, 300):gsub("%c", " ") end
  end
end

local threads = {}

function setup(thread)
  threads[#threads + 1] = thread
end

function done(summary, latency)
  local thread = threads[1]
  local errors = summary.errors
  io.write(string.format(
    '\n@@ {"good":%d,"bad":%d,"made":%d,"seconds":%.6f,"p50":%.3f,"p99":%.3f,"max":%.3f,"broken":%d,"first_bad":"%s"}\n',
    thread:get("good"), thread:get("bad"), thread:get("made"), summary.duration / 1e6,
    latency:percentile(50) / 1000, latency:percentile(99) / 1000, latency.max / 1000,
    errors.connect + errors.read + errors.write + errors.timeout, (thread:get("first_bad"):gsub('[\\"]', "'"))))
end
