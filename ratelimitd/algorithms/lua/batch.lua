-- Loop over a batch of asks, after the counters that are only added to. ``make`` makes the
-- fragments, in the order in which Python numbers them: most calls need none or one.
--
-- KEYS     each counter once; first those that are only added to. See prelude.lua.
-- ARGV[1]  current time in µs, '' to use Redis' clock; ARGV[2] the host's time in µs; ARGV[3] jitter in ms for
--          counters keyed by window.
-- ARGV[4]  JSON: [runs, costs, [[fragment, [numbers...]]...],
--          [mode, charges, (key, rate, cost, flags)... for each ask...]]
--          Runs and costs are those of the counters that are only added to, see count.lua.
--          Keys and rates are numbered from 1. Modes: 0 each charge separately, 1 all binding charges or none, 2 vetoed
--          already. Flags: see rate.py; odd ones are binding.
--          A rate with holds is [fragment, [numbers...], burst, ttl]. Its key is that of the holds, and the next one the
--          counter's; without a counter the fragment is 0. Behind the asks are, for each charge of such a rate,
--          [amount, 1 to release the newest hold or 0, names...], see Hold in holds.py.
-- Returns  the current time, then the count before for each counter that is only added to, then five integers per
--          charge: allowed, remaining, reset_after, retry_after, before. Then three for each charge with holds: held,
--          moved, expired. The rest of the reply are errors.
--          A counter that could not be added to has, negative, the place of its error text, from 1; the count that was
--          found follows the text, -1 if there was none. A failed charge has allowed = 2; its remaining is the index,
--          from 0, of its error text.

local FAILED, ATOMIC, VETOED = 2, 1, 2

-- ms for which a key outlives the effect of its state, so that rounding or a replica's clock never expires it early. A
-- key chosen by a host's clock lives for a whole window and the jitter, as in envoyproxy/ratelimit: host clocks differ.
local GRACE = 1000

local now, host, jitter = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000000 + time[2]
end
local decoded = cjson.decode(ARGV[4])
local counts, rates, plan, holding = #decoded[2], decoded[3], decoded[4], decoded[5]
local reply = {now}

-- Three integers for each charge with holds; nil without one.
local moves = holding and {}

local function with_errors(slot)
  if moves then
    for i = 1, #moves do
      reply[slot + i - 1] = moves[i]
    end
    slot = slot + #moves
  end
  for i = 1, #errors do
    reply[slot + i - 1] = errors[i]
  end
  return reply
end

count(decoded[1], decoded[2], jitter, reply)
if not plan[1] then
  return with_errors(2 + counts)
end

return (function()

local made = {}

local function fragment_of(rate)
  local number = rate[1]
  if not made[number] then
    made[number] = make(number)
  end
  return made[number]
end

-- Indexed like KEYS. A missing state is false; nil means not loaded yet.
local fragments, loaded, states, lives, numbers = {}, {}, {}, {}, {}

-- State and life of the counters of an atomic ask before the ask: {state, life}.
local undo

local function fail(slot, err)
  errors[#errors + 1] = type(err) == 'table' and err.err or tostring(err)
  reply[slot], reply[slot + 1], reply[slot + 2], reply[slot + 3], reply[slot + 4] = FAILED, #errors - 1, 0, 0, 0
end

local function step(slot, state, rate, cost, flags)
  local fragment = fragment_of(rate)
  state, reply[slot], reply[slot + 1], reply[slot + 2], reply[slot + 3], reply[slot + 4] =
    fragment.step(state, rate[2], cost, fragment.host_clock and host or now, flags)
  return state or false
end

local function charge(slot, at, rate, cost, flags)
  local fragment = fragment_of(rate)
  if not fragments[at] then
    local state = fragment.load(KEYS[at], rate[2], now) or false
    fragments[at], loaded[at], states[at], lives[at] = fragment, state, state, 0
    -- A state moved after a step of the clock stays moved even if the ask is vetoed: otherwise a key with only vetoed
    -- asks would stay blocked.
    if state and not fragment.host_clock and fragment.last(state) - now > SMALL_STEP then
      local moved, _, _, life = fragment.step(state, rate[2], 0, now, flags < POST_PAID and 0 or LOOK)
      states[at], lives[at] = moved or false, life
    end
  elseif fragments[at] ~= fragment then
    error('WRONGTYPE one key is used by two algorithms', 0)
  end
  if undo and not undo[at] then
    undo[at] = {states[at], lives[at]}
  end
  states[at] = step(slot, states[at], rate, cost, flags)
  lives[at], numbers[at] = reply[slot + 2], rate[2]
end

-- What follows is made only for a call with holds: in Lua 5.1 each function that is made looks for each of its variables
-- among all that others share.
local charge_held, peek, save_holds

-- Holds and the ttl that they were taken with, by the place of their key; that place by the place of their counter; and the
-- holds of an atomic ask before the ask: how many were fresh, and the sum.
local held, ttls, owners, undo_held

if holding then
  local load_holds, is_fresh, take, release, release_newest, release_all
  load_holds, is_fresh, take, release, release_newest, release_all, save_holds = make()
  held, ttls, owners = {}, {}, {}

  local ALL, RENEW = -1, -2 -- amounts, see holds.py

  -- Decides a charge by the places that are taken, which no counter has.
  local function places(slot, taken, most, cost, flags)
    local never = most == 0 and cost >= 0 and flags < SETTLES
    reply[slot], reply[slot + 1], reply[slot + 2], reply[slot + 3], reply[slot + 4] =
      never and 0 or 1, most, 0, never and NEVER or 0, taken
  end

  -- Decides a charge with holds; see charge in holds.py. Its holds, what it moves and the numbers of it come last.
  charge_held = function(slot, at, rate, cost, flags, number)
    local wanted, burst, counted = holding[number], rate[3], rate[1] > 0
    local counter, first = at + 1, 3 * number - 2
    moves[first], moves[first + 1], moves[first + 2] = 0, 0, 0
    local holds = held[at]
    if not holds then
      holds = load_holds(KEYS[at], now)
      held[at], ttls[at] = holds, rate[4]
      moves[first + 2] = holds.expired
    end
    ttls[at] = max(ttls[at], rate[4])
    if undo_held and not undo_held[at] then
      undo_held[at] = {#holds.fresh, holds.held}
    end
    local asks, moved = flags < SETTLES and cost >= 0, 0
    local state = states[counter]
    if counted then
      -- First, since it fails if the counter is not at this server (any more), and then no hold is released.
      owners[counter] = at
      charge(slot, counter, rate, cost, flags)
    end
    if wanted[1] == ALL then
      moved = release_all(holds)
    elseif flags >= SETTLES and cost >= 0 then
      moved = wanted[2] == 1 and release_newest(holds) or release(holds, wanted, 3)
      if wanted[1] == RENEW then
        take(holds, wanted[3], now + rate[4])
      end
    end
    -- What the same call has taken for another descriptor is no hold of others.
    local others = holds.held - (asks and wanted[3] and is_fresh(holds, wanted[3]) and wanted[1] or 0)
    if counted then
      local needed = reply[slot + 4] + cost + others + wanted[1]
      if asks and reply[slot] == 1 and others > 0 and needed > burst then
        if state == nil then
          state = loaded[counter]
        end
        states[counter] = step(slot, state, rate, 0, LOOK)
        lives[counter] = reply[slot + 2]
        reply[slot], reply[slot + 3] = 0, SECOND
      end
    else
      places(slot, holds.held, burst, cost, flags)
      if asks and reply[slot] == 1 and others > 0 and others + wanted[1] > burst then
        reply[slot], reply[slot + 3] = 0, SECOND
      end
    end
    if asks and reply[slot] == 1 and wanted[3] then
      moved = take(holds, wanted[3], now + rate[4])
    end
    reply[slot + 1] = max(0, reply[slot + 1] - holds.held)
    moves[first], moves[first + 1] = holds.held, moved
  end

  -- Looks at a counter, and at its holds.
  peek = function(slot, at, rate, flags, number)
    local holds, counter = held[at], at + 1
    if rate[1] > 0 then
      step(slot, states[counter], rate, 0, flags)
    else
      places(slot, holds.held, rate[3], 0, flags)
    end
    reply[slot + 1] = max(0, reply[slot + 1] - holds.held)
    moves[3 * number - 2], moves[3 * number - 1] = holds.held, 0
  end
end

-- Restores the counters of a vetoed ask, and answers the charges that would have passed with a peek. The number is that of
-- charges with holds before it.
local function roll_back(position, slot, charges, number)
  for at, before in pairs(undo) do
    states[at], lives[at] = before[1], before[2]
  end
  for at, before in pairs(undo_held or {}) do
    local holds = held[at]
    holds.held = before[2]
    for i = #holds.fresh, before[1] + 1, -1 do
      holds.fresh[i] = nil
    end
  end
  for i = 0, charges - 1 do
    local here, at = slot + 5 * i, plan[position + 4 * i]
    local rate = rates[plan[position + 4 * i + 1]]
    number = rate[4] and number + 1 or number
    if reply[here] == 1 then
      local flags = plan[position + 4 * i + 3] < POST_PAID and 0 or LOOK
      local ok, err
      if rate[4] then
        ok, err = pcall(peek, here, at, rate, flags, number)
      else
        ok, err = pcall(step, here, states[at], rate, 0, flags)
      end
      if not ok then
        fail(here, err)
      end
    end
  end
end

-- Decides one ask; returns the next positions in plan and reply, and the number of charges with holds so far.
local function settle(position, slot, number)
  local mode, charges, first_position, first_slot = plan[position], plan[position + 1], position + 2, slot
  local vetoed, first_number = mode == VETOED, number
  undo = (vetoed or mode == ATOMIC) and {} or nil
  undo_held = holding and undo and {}
  position = first_position
  for _ = 1, charges do
    local rate, cost, flags = rates[plan[position + 1]], plan[position + 2], plan[position + 3]
    local ok, err
    if rate[4] then
      number = number + 1
      ok, err = pcall(charge_held, slot, plan[position], rate, cost, flags, number)
    else
      ok, err = pcall(charge, slot, plan[position], rate, cost, flags)
    end
    if not ok then
      fail(slot, err)
    elseif undo and reply[slot] == 0 and flags % 2 == 1 then
      vetoed = true
    end
    position, slot = position + 4, slot + 5
  end
  if vetoed then
    roll_back(first_position, first_slot, charges, first_number)
  end
  return position, slot, number
end

local function lifetime(at)
  if fragments[at].host_clock then
    return format(WHOLE, ceil(numbers[at][2] / 1000) + jitter)
  end
  return format(WHOLE, ceil(lives[at] / 1000) + GRACE)
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

-- A charge that passed fails if its counter could not be saved, and so does a settlement; a denial stands.
local function fail_unsaved(at, err)
  local position, slot = 1, 2 + counts
  while plan[position] do
    for i = 1, plan[position + 1] do
      if plan[position + 4 * i - 2] == at and (reply[slot] == 1 or plan[position + 4 * i + 1] >= SETTLES) then
        fail(slot, err)
      end
      slot = slot + 5
    end
    position = position + 2 + 4 * plan[position + 1]
  end
end

local position, slot, number = 1, 2 + counts, 0
while plan[position] do
  position, slot, number = settle(position, slot, number)
end
for at = counts + 1, #KEYS do
  if fragments[at] then
    local ok, err = pcall(save, at)
    if not ok then
      fail_unsaved(owners and owners[at] or at, err)
    end
  elseif held and held[at] then
    local ok, err = pcall(save_holds, held[at], format(WHOLE, ceil(ttls[at] / 1000) + GRACE))
    if not ok then
      fail_unsaved(at, err)
      fragments[at + 1] = owners[at + 1] == nil and fragments[at + 1] or nil
    end
  end
end
return with_errors(slot)
end)()
