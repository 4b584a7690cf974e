-- The loop over a batch of asks. FRAGMENTS holds what the fragments returned, in the order Python numbers them.
--
-- KEYS     each counter once.
-- ARGV[1]  now in µs, '' for Redis' own; ARGV[2] the host's now in µs; ARGV[3] ms of jitter for window-keyed counters.
-- ARGV[4]  JSON: [[[fragment, [numbers...]]...], [mode, charges, (key, rate, cost, binding)... for each ask...]]
--          Keys and rates count from 1. Modes: 0 each charge on its own, 1 all binding ones or none, 2 vetoed already.
-- Returns  now, then for each charge five integers: allowed, remaining, reset_after, retry_after, before.
--          A failed charge has allowed = 2 and, as remaining, where (from 0) in the rest of the reply its error text is.

local FAILED, ATOMIC, VETOED = 2, 1, 2

-- A key outlives its meaning by this many ms, so that rounding and a replica's clock never cut it short. One that
-- the hosts' clocks chose lives for a whole window and the jitter, as with envoyproxy/ratelimit: those clocks differ.
local GRACE = 1000

local now, host, jitter = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000000 + time[2]
end
local decoded = cjson.decode(ARGV[4])
local rates, plan = decoded[1], decoded[2]
local reply, errors = {now}, {}

-- By place in KEYS. A state is false where there is none, so that nil says not loaded yet.
local fragments, loaded, states, lives, numbers = {}, {}, {}, {}, {}

-- What the counters of an atomic ask were before it: {state, life}.
local undo

local function fail(slot, problem)
  errors[#errors + 1] = type(problem) == 'table' and problem.err or tostring(problem)
  reply[slot], reply[slot + 1], reply[slot + 2], reply[slot + 3], reply[slot + 4] = FAILED, #errors - 1, 0, 0, 0
end

local function step(slot, state, rate, cost)
  local fragment = FRAGMENTS[rate[1]]
  state, reply[slot], reply[slot + 1], reply[slot + 2], reply[slot + 3], reply[slot + 4] =
    fragment.step(state, rate[2], cost, fragment.host_clock and host or now)
  return state or false
end

local function charge(slot, at, rate, cost)
  local fragment = FRAGMENTS[rate[1]]
  if not fragments[at] then
    local state = fragment.load(KEYS[at], rate[2], now) or false
    fragments[at], loaded[at], states[at], lives[at] = fragment, state, state, 0
    -- What a step of the clock moved stays moved, even if the ask is vetoed: else a key asked in vain would stay shut.
    if state and not fragment.host_clock and fragment.last(state) - now > SMALL_STEP then
      local moved, _, _, life = fragment.step(state, rate[2], 0, now)
      states[at], lives[at] = moved or false, life
    end
  elseif fragments[at] ~= fragment then
    error('WRONGTYPE one key is used by two algorithms', 0)
  end
  if undo and not undo[at] then
    undo[at] = {states[at], lives[at]}
  end
  states[at] = step(slot, states[at], rate, cost)
  lives[at], numbers[at] = reply[slot + 2], rate[2]
end

-- Puts the counters of a vetoed ask back, and lets the charges that would have passed say what remains without them.
local function take_back(place, slot, charges)
  for at, before in pairs(undo) do
    states[at], lives[at] = before[1], before[2]
  end
  for i = 0, charges - 1 do
    local here, at = slot + 5 * i, plan[place + 4 * i]
    if reply[here] == 1 then
      local fine, problem = pcall(step, here, states[at], rates[plan[place + 4 * i + 1]], 0)
      if not fine then
        fail(here, problem)
      end
    end
  end
end

-- Decides one ask; returns the places after it.
local function settle(place, slot)
  local mode, charges, first_place, first_slot = plan[place], plan[place + 1], place + 2, slot
  local vetoed = mode == VETOED
  undo = (vetoed or mode == ATOMIC) and {} or nil
  place = first_place
  for _ = 1, charges do
    local fine, problem = pcall(charge, slot, plan[place], rates[plan[place + 1]], plan[place + 2])
    if not fine then
      fail(slot, problem)
    elseif undo and reply[slot] == 0 and plan[place + 3] == 1 then
      vetoed = true
    end
    place, slot = place + 4, slot + 5
  end
  if vetoed then
    take_back(first_place, first_slot, charges)
  end
  return place, slot
end

local function lifetime(at)
  if fragments[at].host_clock then
    return ceil(numbers[at][2] / 1000) + jitter
  end
  return ceil(lives[at] / 1000) + GRACE
end

local function save(at)
  local key, state = KEYS[at], states[at]
  if state ~= loaded[at] then
    if state then
      fragments[at].save(key, state, lifetime(at), loaded[at])
    else
      redis.call('DEL', key)
    end
  elseif state and redis.call('PTTL', key) < ceil(lives[at] / 1000) then
    redis.call('PEXPIRE', key, lifetime(at))
  end
end

-- A charge that passed has not, where its counter could not be kept; a denial stands.
local function fail_passed(at, problem)
  local place, slot = 1, 2
  while plan[place] do
    for i = 1, plan[place + 1] do
      if plan[place + 4 * i - 2] == at and reply[slot] == 1 then
        fail(slot, problem)
      end
      slot = slot + 5
    end
    place = place + 2 + 4 * plan[place + 1]
  end
end

local place, slot = 1, 2
while plan[place] do
  place, slot = settle(place, slot)
end
for at = 1, #KEYS do
  if fragments[at] then
    local fine, problem = pcall(save, at)
    if not fine then
      fail_passed(at, problem)
    end
  end
end
for i = 1, #errors do
  reply[slot + i - 1] = errors[i]
end
return reply
