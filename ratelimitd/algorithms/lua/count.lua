-- Counters that are only added to, or asked: fixed windows that count what they reject too. INCRBY on a counter that
-- exists takes Redis a quarter of the time of a SET with an expiry, so the expiry is renewed only when a window is no
-- more left of it. A life of an eighth more than a window makes that eight times a window at most, and after each charge
-- a counter lives for a window: hosts whose clocks differ charge it early or late.

local errors = {}
local texts = {}

local function digits(number)
  local text = texts[number]
  if not text then
    text = format(WHOLE, number)
    texts[number] = text
  end
  return text
end

local function in_range(count)
  return min(max(count, 0), SATURATED)
end

local function renew(key, window, life)
  if redis.call('PTTL', key) < window then
    redis.call('PEXPIRE', key, life)
  end
end

-- Returns the count before a cost that Redis has not added, or the place of an error in place of it. What is too large
-- to be added to is denied, and stays; digits that INCRBY does not take for a number are replaced, if Redis can write.
local function refused(key, cost, err, window, life)
  local value, count = redis.pcall('GET', key), -1
  if not value then
    count = 0
  elseif type(value) == 'string' and string.find(value, '^%-?%d+$') then
    count = in_range(tonumber(value))
  end
  if count == SATURATED then
    renew(key, window, life)
    return count
  end
  if value and count >= 0 and redis.pcall('SET', key, digits(min(count + cost, SATURATED)), 'PX', life).ok then
    return count
  end
  errors[#errors + 1] = err
  errors[#errors + 1] = count
  return 1 - #errors
end

-- Returns the count of a counter that is only asked, or the place of an error in place of it.
local function found(key, window, life)
  local value = redis.pcall('GET', key)
  if not value then
    return 0
  elseif type(value) == 'string' and string.find(value, '^%-?%d+$') then
    renew(key, window, life)
    return in_range(tonumber(value))
  end
  errors[#errors + 1] = type(value) == 'table' and value.err or 'ERR value is not an integer or out of range'
  errors[#errors + 1] = -1
  return 1 - #errors
end

-- Adds a cost; returns the count before. A count that was out of range becomes what Python takes it for.
local function add(key, cost, window, life)
  if cost == 0 then
    return found(key, window, life)
  end
  local after = redis.pcall('INCRBY', key, digits(cost))
  if type(after) ~= 'number' then
    return refused(key, cost, after.err, window, life)
  end
  local before = after - cost
  if before >= SATURATED then
    redis.call('INCRBY', key, digits(-cost))
  elseif before < 0 or after > SATURATED then
    redis.call('SET', key, digits(in_range(in_range(before) + cost)), 'PX', life)
  end
  if before == 0 then
    redis.call('PEXPIRE', key, life)
  else
    renew(key, window, life)
  end
  return in_range(before)
end

-- Runs of counters with the same window: its length in ms, how many there are, and so on; a cost for each counter.
local function count(runs, costs, jitter, reply)
  local at = 1
  for run = 1, #runs, 2 do
    local window = runs[run]
    local life = format(WHOLE, window + ceil(window / 8) + jitter)
    for _ = 1, runs[run + 1] do
      reply[at + 1] = add(KEYS[at], costs[at], window, life)
      at = at + 1
    end
  end
end
