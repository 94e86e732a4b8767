-- What wrk sends to the device API: people's requests.
--
--   wrk … -s api.lua URL -- route devices-file - - expected-status
--
-- The devices file has a line a device: its id, a space, its owner's access token. Requests go round the devices.

local devices, make, wanted, expected_status
local count = 0

local SQUARE = '[[-1000,500],[1000,500],[1000,2500],[-1000,2500]]'
local HOUSE = '[[1500,0],[2500,0],[2500,800],[2000,1400],[1500,800]]'
local zone = '{"id":"zone_%d","name":"Zone %d","type":"%s","vertices":%s,"sensitivity":%d}'

--- Eight zones of four and five corners: what a furnished room has.
local function edit()
  local zones = {}
  for i = 1, 8 do
    zones[i] = string.format(zone, i, i, i % 3 == 0 and "exclude" or "include", i % 2 == 0 and SQUARE or HOUSE, (count + i) % 101)
  end
  return '{"zones":[' .. table.concat(zones, ",") .. "]}"
end

local function head(method, path, token, more)
  return method .. " " .. path .. " HTTP/1.1\r\nHost: api.localhost\r\naccept: application/json\r\nauthorization: Bearer " .. token .. "\r\n" .. more .. "\r\n"
end

local MAKE = {
  devices = function(_, token) return head("GET", "/api/devices", token, "") end,
  device = function(id, token) return head("GET", "/api/devices/" .. id, token, "") end,
  zones = function(id, token)
    local body = edit()
    -- Versions differ from device to device and rise with each round; that a stale one is refused is for the specs to show.
    local more = "content-type: application/json\r\nif-match: *\r\ncontent-length: " .. #body .. "\r\n"
    return head("PUT", "/api/devices/" .. id .. "/zones", token, more) .. body
  end,
}

-- What a right answer has in it.
local WANTED = { devices = '"items":[{', device = '"role":"owner"', zones = '"delivery":"sent"' }

-- Global, so that `done` can ask for them.
good, bad, made = 0, 0, 0
first_bad = ""

function init(args)
  make = MAKE[args[1]]
  wanted = args[6] == "anything" and "" or WANTED[args[1]]
  expected_status = tonumber(args[5])
  devices = {}
  for line in io.lines(args[2]) do
    local id, token = line:match("^(%S+) (%S+)$")
    devices[#devices + 1] = { id, token }
  end
end

function request()
  count = count + 1
  made = count
  local device = devices[count % #devices + 1]
  return make(device[1], device[2])
end

function response(status, _, text)
  if status == expected_status and text:find(wanted, 1, true) then
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
