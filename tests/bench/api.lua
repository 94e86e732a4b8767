-- What wrk sends to the device API: people's requests.
--
--   wrk … -s api.lua URL -- route devices-file - - expected-status
--
-- The devices file has a line a device: its id, a space, its owner's access token. Requests go round the devices.

local devices, make
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

dofile(debug.getinfo(1, "S").source:match("^@(.*/)") .. "report.lua")

function init(args)
  make = MAKE[args[1]]
  wanted = args[6] ~= "anything" and WANTED[args[1]]
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
