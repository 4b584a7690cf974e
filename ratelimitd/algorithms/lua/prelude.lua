-- What all fragments share. A fragment returns {load, step, save}, and last if it goes by Redis' clock:
--   load(key, numbers, now) -> state        nil: no such key; an error: the value is not ours
--   step(state, numbers, cost, now) -> state, allowed (1 or 0), remaining, reset_after, retry_after, before
--   save(key, state, life, existed)         life in ms; the expiry is set with the value
--   last(state) -> when (µs) it last changed
-- States are never changed in place: an unchanged one is the same table, and an older one can be gone back to.
-- Numbers are doubles. Of whole numbers below 2^53 a sum, a difference and a product that stay below it are exact, and
-- so are the floor and the ceiling of a / b: the quotient rounds to a whole number only if it is one.

local NEVER = -1
local SMALL_STEP = 1000000 -- as in rate.py, which says why
local floor, ceil, max, min, format = math.floor, math.ceil, math.max, math.min, string.format

local function load_three(key)
  local value = redis.call('GET', key)
  if not value then
    return nil
  end
  local a, b, c = string.match(value, '^(%d+) (%d+) (%d+)$')
  if not a then
    error('WRONGTYPE the value is not a counter of ratelimitd', 0)
  end
  return {tonumber(a), tonumber(b), tonumber(c)}
end

local function save_three(key, state, life)
  redis.call('SET', key, format('%.0f %.0f %.0f', state[1], state[2], state[3]), 'PX', life)
end
