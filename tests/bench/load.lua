-- What wrk sends: EMQX's requests, rendered as emqx/emqx.conf asks for them.
--
--   wrk … -s load.lua URL -- route devices-file secret id-prefix expected-status
--
-- The devices file has a line a device: id, a space, the MQTT password of this hour. Requests go round the devices. Message ids
-- are the prefix (16 hex digits) and a counter, so that what was sent can be looked for afterwards; times are the clock's.

local ffi = require("ffi")
local bit = require("bit")
ffi.cdef [[
  typedef struct { long seconds; int microseconds; } rs1_time;
  int gettimeofday(rs1_time *, void *);
]]

local clock = ffi.new("rs1_time")

--- Unix milliseconds.
local function now()
  ffi.C.gettimeofday(clock, nil)
  return tonumber(clock.seconds) * 1000 + math.floor(clock.microseconds / 1000)
end

-- RFC 3339 in UTC. The seconds are formatted once a second.
local formatted, formatted_second = "", -1
local function rfc3339(ms)
  local second = math.floor(ms / 1000)
  if second ~= formatted_second then
    formatted, formatted_second = os.date("!%Y-%m-%dT%H:%M:%S", second), second
  end
  return string.format("%s.%03dZ", formatted, ms % 1000)
end

-- Base64, twelve bits at a time.
local DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
local PAIRS = {}
for i = 0, 4095 do
  local high, low = bit.rshift(i, 6) + 1, bit.band(i, 63) + 1
  PAIRS[i] = DIGITS:sub(high, high) .. DIGITS:sub(low, low)
end

local function base64(text)
  local out, n = {}, 0
  local whole = #text - #text % 3
  for i = 1, whole, 3 do
    local a, b, c = text:byte(i, i + 2)
    out[n + 1] = PAIRS[a * 16 + bit.rshift(b, 4)]
    out[n + 2] = PAIRS[bit.band(b, 15) * 256 + c]
    n = n + 2
  end
  if #text - whole == 1 then
    out[n + 1] = PAIRS[text:byte(whole + 1) * 16] .. "=="
  elseif #text - whole == 2 then
    local a, b = text:byte(whole + 1, whole + 2)
    out[n + 1] = PAIRS[a * 16 + bit.rshift(b, 4)]
    out[n + 2] = PAIRS[bit.band(b, 15) * 256]:sub(1, 1) .. "="
  end
  return table.concat(out)
end

-- The JSON below has nothing to escape but its own quotes.
local function quoted(json)
  return (json:gsub('"', '\\"'))
end

local devices, head, body, prefix
local count = 0

--- The SELECT of the rules rs1_telemetry and rs1_state.
local function event(device, topic, payload, qos, retain, at)
  return string.format(
    '{"id":"%s%016X","event":"message.publish","clientid":"%s","username":"%s","peerhost":"203.0.113.7","topic":"opticworks/%s/%s",'
      .. '"qos":%d,"flags":{"dup":false,"retain":%s},"payload":"%s","payload_b64":"%s","publish_received_at":%d,"timestamp":%d,"node":"emqx@10.0.0.5"}',
    prefix, count, device, device, device, topic, qos, retain, quoted(payload), base64(payload), at, at)
end

local BODIES = {
  admission = function(device, password)
    return string.format('{"clientid":"%s","password":"%s","peerhost":"203.0.113.7","username":"%s"}', device, password, device)
  end,

  acl = function(device)
    return string.format(
      '{"action":"publish","clientid":"%s","peerhost":"203.0.113.7","qos":"1","retain":"false","topic":"opticworks/%s/ota/status","username":"%s"}',
      device, device, device)
  end,

  state = function(device)
    local at = now()
    local payload = string.format(
      '{"online":true,"firmware_version":"1.2.0","last_seen":"%s","protocol_version":"1.0","product_sku":"rs1_pro","uptime_sec":%d,'
        .. '"wifi_rssi":-%d,"config_version":3,"zone_count":4,"radar_connected":true,"boot_count":12,"reset_reason":"power_on"}',
      rfc3339(at), count, 40 + count % 40)
    return event(device, "state", payload, 1, "true", at)
  end,

  telemetry = function(device)
    local at = now()
    local payload = string.format(
      '{"device_id":"%s","timestamp":"%s","firmware_version":"1.2.0","uptime_sec":%d,"metrics":{"system.uptime_sec":%d,'
        .. '"system.free_heap":%d,"system.wifi_rssi":-%d,"system.cpu_usage":%.1f,"radar.frames_received":%d,"radar.frames_invalid":%d,'
        .. '"tracking.active_tracks":%d,"zone.occupancy_changes":%d,"api.connections":1}}',
      device, rfc3339(at), count, count, 150000 + count % 9000, 40 + count % 40, count % 1000 / 10, 600 + count % 7, count % 3, count % 4, count % 11)
    return event(device, "telemetry", payload, 0, "false", at)
  end,
}

local PATHS = {
  admission = "/webhook/mqtt-auth",
  acl = "/webhook/mqtt-acl",
  state = "/webhook/device-state",
  telemetry = "/webhook/telemetry",
}

-- What a right answer has in it, where it has a body.
local WANTED = { admission = '"result":"allow"', acl = '"result":"allow"' }

dofile(debug.getinfo(1, "S").source:match("^@(.*/)") .. "report.lua")

function init(args)
  local route = args[1]
  body = BODIES[route]
  wanted = WANTED[route]
  prefix = args[4]
  expected_status = tonumber(args[5])
  devices = {}
  for line in io.lines(args[2]) do
    local id, password = line:match("^(%S+) (%S+)$")
    devices[#devices + 1] = { id, password }
  end
  head = "POST " .. PATHS[route] .. " HTTP/1.1\r\nHost: api.localhost\r\ncontent-type: application/json\r\naccept: application/json\r\n"
    .. "user-agent: emqx-rs1/1\r\nx-webhook-secret: " .. args[3] .. "\r\ncontent-length: "
end

function request()
  count = count + 1
  made = count
  local device = devices[count % #devices + 1]
  local text = body(device[1], device[2])
  return head .. #text .. "\r\n\r\n" .. text
end
