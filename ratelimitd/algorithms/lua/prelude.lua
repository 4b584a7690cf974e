-- Shared by all fragments. A fragment returns {load, step, save}, and last if it uses Redis' clock:
--   load(key, numbers, now) -> state        nil: no such key; error: not a value of ratelimitd
--   step(state, numbers, cost, now, flags) -> state, allowed (1 or 0), remaining, reset_after, retry_after, before
--   save(key, state, life, existed)         life in ms, as a text; the expiry is set with the value
--   last(state) -> time (µs) of the last change
-- States are never modified in place: an unchanged state is the same table, and an older one can be restored.
-- Numbers are doubles. For integers below 2^53, sums, differences and products below 2^53 are exact. So are the floor
-- and the ceiling of a / b: the quotient rounds to an integer only if it is one.

-- A call over several slots of a cluster node declares no keys: they follow the arguments.
local KEYS = ARGV[5] and {unpack(ARGV, 5)} or KEYS

local NEVER = -1
local SECOND = 1000000
local SMALL_STEP = 1000000 -- see rate.py
local POST_PAID, SETTLES, LOOK = 2, 4, 6 -- flags from these on, see rate.py
local SATURATED = 4503599627370496 -- see fixed_window.py
local EXACT = 9007199254740992 -- see rate.py
local floor, ceil, max, min, format = math.floor, math.ceil, math.max, math.min, string.format

-- Numbers are passed to Redis as texts, and it takes '%d' a third of the time of '%.0f'. It needs a C long of 64 bits.
local WHOLE = format('%d', SATURATED) == '4503599627370496' and '%d' or '%.0f'
local THREE = WHOLE .. ' ' .. WHOLE .. ' ' .. WHOLE

local function foreign()
  error('WRONGTYPE the value is not a counter of ratelimitd', 0)
end

-- Beyond the numbers that ratelimitd stores, a step comes to no number, and the reply would be none of the script.
local function stored(a, b, c)
  a, b, c = tonumber(a), tonumber(b), tonumber(c)
  if not (a and b and c) or max(a, b, c) >= EXACT then
    foreign()
  end
  return a, b, c
end

local function load_three(key)
  local value = redis.call('GET', key)
  if not value then
    return nil
  end
  return {stored(string.match(value, '^(%d+) (%d+) (%d+)$'))}
end

local function save_three(key, state, life)
  redis.call('SET', key, format(THREE, state[1], state[2], state[3]), 'PX', life)
end
