-- What HAProxy's own rules cannot say: what a token claims, holding a request for the first replica, long and sticky
-- splits, mirroring, counting the bytes of bodies without a length, and telling why HAProxy answered 503. Runs in HAProxy's
-- one thread.

local RUN = os.getenv("ROUTERD_RUN")
local MIRROR_BYTES = tonumber(os.getenv("ROUTERD_MIRROR_BYTES"))
local BODY_BYTES = tonumber(os.getenv("ROUTERD_BODY_BYTES"))

-- field(record, n): the n-th part of "a|b|c", counted from 1
local function field(record, n)
  local i = 0
  for part in string.gmatch((record or "") .. "|", "([^|]*)|") do
    i = i + 1
    if i == n then return part end
  end
  return nil
end

-- token: who signed it, by whom and for whom it was issued, and until when. Sets txn.kid, or txn.refusal too, which is
-- the code of the answer. The algorithm is the one our record names, never the one the token asks for.
local CLOCK_SLACK = 30 -- seconds that an issuer's clock may be ahead
local MOST_AUDIENCES = 20
local issuers = Map.new(RUN .. "/tokens.map", Map._str)

local function key_path(name)
  return RUN .. "/token-keys/" .. name .. ".pem"
end

-- The claim aud is a text, or a list of texts (HAProxy cannot read a list as a whole).
local function is_for(txn, token, audience)
  if txn.c:jwt_payload_query(token, "$.aud") == audience then return true end
  for place = 0, MOST_AUDIENCES - 1 do
    local each = txn.c:jwt_payload_query(token, "$.aud[" .. place .. "]")
    if each == nil then return false end
    if each == audience then return true end
  end
  return false
end

local function why_refused(txn, token, record)
  local algorithm, name, issuer, audience = field(record, 1), field(record, 2), field(record, 3), field(record, 4)
  txn:set_var("txn.algorithm", algorithm)
  txn:set_var("txn.key_path", key_path(name))
  if txn.c:jwt_verify(token, "txn.algorithm", "txn.key_path") ~= 1 then return "token_invalid" end
  if txn.c:jwt_payload_query(token, "$.iss") ~= issuer then return "token_invalid" end
  if not is_for(txn, token, audience) then return "token_invalid" end
  local now = core.now().sec
  local ends = tonumber(txn.c:jwt_payload_query(token, "$.exp", "int") or nil)
  if ends == nil then return "token_invalid" end
  if ends <= now then return "token_expired" end
  local starts = tonumber(txn.c:jwt_payload_query(token, "$.nbf", "int") or nil)
  if starts ~= nil and starts > now + CLOCK_SLACK then return "token_not_yet" end
  return nil
end

core.register_action("token", { "http-req" }, function(txn)
  local token = txn.f:http_auth_bearer()
  if token == nil or token == "" then return end
  local kid = txn.c:jwt_header_query(token, "$.kid")
  local record = kid and issuers:lookup(txn:get_var("txn.ep") .. ":" .. kid)
  txn:set_var("txn.kid", record and kid or "-")
  local refusal = record and why_refused(txn, token, record) or not record and "token_invalid"
  if refusal then txn:set_var("txn.refusal", refusal) end
end)

-- load token-key: a public key that came after HAProxy's start. Its converter reads the file that a text names.
local loaded = {}

core.register_cli({ "load", "token-key" }, "load token-key NAME : load a public key", function(applet, _, _, name)
  if loaded[name] then return end
  applet.c:jwt_verify("", "RS256", key_path(name))
  loaded[name] = true
end)

-- hold: wait in the lobby while the slot has no usable server. Sets txn.held to the milliseconds since the request
-- came and txn.priority to its place in the queue; or txn.held_full when no more may wait; or nothing: time is over.
--
-- The held requests of a slot stand in one line. One task per line looks for a server and wakes them in the
-- order in which they came: each has a queue of its own that it waits on, so a thousand of them cost nothing.
local LOOK_MS = 5
local held = {} -- slot -> { count = n, first = n, last = n, waiting = { ticket = { queue, deadline } } }

local function milliseconds()
  local now = core.now()
  return now.sec * 1000 + now.usec // 1000
end

local function release(line, is_due)
  for ticket = line.first, line.last do
    local place = line.waiting[ticket]
    if place ~= nil and is_due(place) then
      line.waiting[ticket] = nil
      line.count = line.count - 1
      place.queue:push(true)
    end
    if line.first == ticket and line.waiting[ticket] == nil then line.first = ticket + 1 end
  end
end

local function keep_line(slot)
  local line, backend = held[slot], core.backends[slot]
  while line.count > 0 do
    core.msleep(LOOK_MS)
    local now, serving = milliseconds(), backend:get_srv_act() > 0
    release(line, function(place) return serving or now >= place.deadline end)
  end
  held[slot] = nil
end

local function stand_in_line(slot, limit)
  local line = held[slot]
  if line == nil then
    line = { count = 0, first = 1, last = 0, waiting = {} }
    held[slot] = line
    core.register_task(keep_line, slot)
  end
  local place = { queue = core.queue(), deadline = milliseconds() + limit }
  line.count, line.last = line.count + 1, line.last + 1
  line.waiting[line.last] = place
  place.queue:pop_wait()
end

-- wall: the time of day in milliseconds, as arrivals are told in. core.now() falls behind it for good where the process
-- was kept from running, so the two must never be subtracted from each other.
local function wall(txn)
  return tonumber(txn.f:date(0, "ms"))
end

-- arrival: "seconds|milliseconds|handshake|idle" -> when the request came, in milliseconds of the time of day
local function arrived(txn)
  local text = txn:get_var("txn.arrival")
  local seconds, rest, handshake, idle = string.match(text or "", "^(%d+)|(%d+)|(%-?%d+)|(%-?%d+)$")
  if seconds == nil then return wall(txn) end
  return tonumber(seconds) * 1000 + tonumber(rest) + math.max(0, tonumber(handshake)) + math.max(0, tonumber(idle))
end

core.register_action("hold", { "http-req" }, function(txn)
  local slot, record = txn:get_var("txn.be"), txn:get_var("txn.srec")
  local limit, most = tonumber(field(record, 3)) or 0, tonumber(field(record, 5)) or 0
  local backend, arrival = core.backends[slot], arrived(txn)
  local left = limit - (wall(txn) - arrival)
  if backend == nil or left <= 0 then return end
  if (held[slot] and held[slot].count or 0) >= most then
    txn:set_var("txn.held_full", 1)
    return
  end
  stand_in_line(slot, left)
  if backend:get_srv_act() == 0 then return end
  local waited = math.max(0, wall(txn) - arrival)
  txn:set_var("txn.held", waited)
  txn:set_var("txn.priority", -waited)
end)

-- show held: "slot count" a line, for the load the autoscaler sees
core.register_cli({ "show", "held" }, "show held : requests waiting for the first replica, per slot", function(applet)
  for slot, line in pairs(held) do applet:send(slot .. " " .. line.count .. "\n") end
end)

-- reason: why HAProxy itself answers 503
core.register_fetches("reason", function(txn)
  if (txn.f:srv_name() or "") ~= "" then return "replica_unreachable" end
  local backend = core.backends[txn.f:be_name()]
  if backend ~= nil and backend:get_srv_act() > 0 then return "queue_timeout" end
  return "no_replica"
end)

-- refused: why HAProxy itself answers 400
core.register_fetches("refused", function(txn)
  return txn:get_var("txn.too_large") and "payload_too_large" or "bad_request"
end)

-- split: the slot whose cumulative percent is above the dice, where there are too many for HAProxy's rules
local function split(txn)
  local dice, chosen = txn:get_var("txn.dice"), ""
  for percent, slot in string.gmatch(field(txn:get_var("txn.rec"), 2) or "", "(%d+):([^:]+)") do
    if tonumber(percent) > dice then
      chosen = slot
      break
    end
  end
  txn:set_var("txn.be", chosen)
end

core.register_action("split", { "http-req" }, split)

-- sticky: the dice of a split is thrown again, by what the request carries, so that the same value falls the same way. The record
-- says which: header:NAME or cookie:NAME. A request without it is thrown like any other.
core.register_action("sticky", { "http-req" }, function(txn)
  local source, name = string.match(field(txn:get_var("txn.rec"), 4) or "", "^(%a+):(.+)$")
  if source == nil then return end
  local value = source == "header" and txn.f:req_hdr(name) or source == "cookie" and txn.f:req_cook(name)
  if not value or value == "" then return end
  txn:set_var("txn.dice", txn.c:xxh64(txn:get_var("txn.ep") .. ":" .. value) % 100)
  split(txn)
end)

-- mirror: send a copy of a small request to the shadow slot, in a task of its own that nobody waits for
local function send_copy(copy)
  local client = core.httpclient()
  local send = client[copy.method]
  if send == nil then return end
  send(client, {
    url = "http://shadow" .. copy.path,
    headers = copy.headers,
    body = copy.body,
    dst = "unix@" .. RUN .. "/shadow.sock",
    timeout = 300000,
  })
end

local NOT_COPIED = { ["transfer-encoding"] = true, ["authorization"] = true, ["expect"] = true, ["connection"] = true }

core.register_action("mirror_dice", { "http-req" }, function(txn)
  local percent, slot = string.match(field(txn:get_var("txn.rec"), 3) or "", "^(%d+):(.+)$")
  if math.random(100) <= (tonumber(percent) or 0) then txn:set_var("txn.mirror", slot) end
end)

local unmirrored = {} -- slot -> requests whose body was too large for a copy

core.register_action("mirror", { "http-req" }, function(txn)
  local size, body, shadow = txn.f:req_body_size(), txn.f:req_body(), txn:get_var("txn.mirror")
  if size > MIRROR_BYTES or #body ~= size then
    unmirrored[shadow] = (unmirrored[shadow] or 0) + 1
    return
  end
  local headers = {}
  for name, values in pairs(txn.http:req_get_headers()) do
    if not NOT_COPIED[name] then
      headers[name] = {}
      for _, value in pairs(values) do table.insert(headers[name], value) end
    end
  end
  headers["x-slipway-hop-slot"] = { shadow }
  local method, path = string.lower(txn.f:method()), txn.f:pathq()
  core.register_task(send_copy, { method = method, path = path, headers = headers, body = body })
end)

-- show unmirrored: "slot count" a line
core.register_cli({ "show", "unmirrored" }, "show unmirrored : requests too large to be mirrored, per slot", function(applet)
  for slot, count in pairs(unmirrored) do applet:send(slot .. " " .. count .. "\n") end
end)

-- bodylimit: count the bytes of a body without a length and end the request past the limit.
-- HAProxy 2.8 ignores filter.ERROR, but a Lua error ends the request; the status is set in the configuration.
local END_OF_BODY = 1 -- byte that HAProxy may count for it
local Limit = { id = "bodylimit", flags = filter.FLT_CFG_FL_HTX }
Limit.__index = Limit

function Limit:new()
  return setmetatable({ bytes = 0 }, Limit)
end

function Limit:http_headers(txn, message)
  if not message:is_resp() then filter.register_data_filter(self, message.channel) end
end

function Limit:http_payload(txn, message)
  self.bytes = self.bytes + message:input()
  if self.bytes > BODY_BYTES + END_OF_BODY then
    txn:set_var("txn.too_large", 1)
    error("payload too large")
  end
end

core.register_filter("bodylimit", Limit, function(class, _) return class end)

-- await_deployment: another router passes on a request for a deployment that this one has not heard of yet
local AWAIT_MS = 2000
local pins = Map.new(RUN .. "/pins.map", Map._str)

core.register_action("await_deployment", { "http-req" }, function(txn)
  local name = (txn:get_var("txn.ep") or "") .. ":" .. (txn:get_var("txn.pin") or "")
  local deadline = milliseconds() + AWAIT_MS
  while milliseconds() < deadline do
    local slot = pins:lookup(name)
    if slot ~= nil then
      txn:set_var("txn.be", slot)
      return
    end
    core.msleep(LOOK_MS)
  end
end)
