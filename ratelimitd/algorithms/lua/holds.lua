-- Holds of a counter, see holds.py: a sorted set of names, by the µs at which each expires. A name ends with its amount.
-- The sum of the amounts is the score of the member SUM, negative, so that it comes first: one command finds it and the
-- hold that expires first.
--
-- The holds in a call are {key, held, stored, fresh, expired, changed}: the sum; whether there was a set; those taken in
-- this call, as {expiry, name}, which save_holds adds; how many have expired; whether the sum has to be written.

local SUM = 'held'
local EXPIRED_MOST = 128 -- see holds.py

local function amount_of(name)
  return tonumber(string.match(name, '%.(%d+)$'))
end

local function load_holds(key, now)
  local holds = {key = key, held = 0, fresh = {}, expired = 0}
  local first = redis.call('ZRANGE', key, 0, 1, 'WITHSCORES')
  if not first[1] then
    return holds
  elseif first[1] ~= SUM then
    foreign()
  end
  holds.held, holds.stored = -first[2], true
  if first[4] and tonumber(first[4]) <= now then
    local due = redis.call('ZRANGE', key, 1, EXPIRED_MOST, 'WITHSCORES')
    local count = 0
    while due[2 * count + 1] and tonumber(due[2 * count + 2]) <= now do
      holds.held = holds.held - amount_of(due[2 * count + 1])
      count = count + 1
    end
    redis.call('ZREMRANGEBYRANK', key, 1, count)
    holds.expired, holds.changed = count, true
  end
  return holds
end

local function is_fresh(holds, name)
  for i = 1, #holds.fresh do
    if holds.fresh[i][2] == name then
      return true
    end
  end
  return false
end

local function take(holds, name, expiry)
  if is_fresh(holds, name) then
    return 0
  end
  local amount = amount_of(name)
  holds.fresh[#holds.fresh + 1] = {expiry, name}
  holds.held, holds.changed = holds.held + amount, true
  return amount
end

local function freed(holds, name)
  local amount = amount_of(name)
  holds.held, holds.changed = holds.held - amount, true
  return amount
end

-- Releases the first of the holds with these names, from the given place on, that there is. Returns its amount, or 0.
local function release(holds, names, place)
  if holds.stored and names[place] then
    -- Removes nothing. A full Redis lets a script write on once it has begun to, and refuses ZADD as its first command.
    redis.call('ZREMRANGEBYRANK', holds.key, 1, 0)
  end
  for i = place, #names do
    for j = 1, #holds.fresh do
      if holds.fresh[j][2] == names[i] then
        table.remove(holds.fresh, j)
        return freed(holds, names[i])
      end
    end
    -- Moved to the front, and removed from there: users of Redis have the rights that other algorithms need.
    if holds.stored and redis.call('ZADD', holds.key, 'XX', 'CH', '-inf', names[i]) == 1 then
      redis.call('ZREMRANGEBYRANK', holds.key, 0, 0)
      return freed(holds, names[i])
    end
  end
  return 0
end

-- Releases the hold that expires last; of several, that with the greatest name. Returns its amount, or 0.
local function release_newest(holds)
  local newest
  for i = 1, #holds.fresh do
    local each = holds.fresh[i]
    if not newest or each[1] > newest[1] or (each[1] == newest[1] and each[2] > newest[2]) then
      newest = each
    end
  end
  if holds.stored then
    local last = redis.call('ZRANGE', holds.key, -1, -1, 'WITHSCORES')
    local expiry = tonumber(last[2])
    if last[1] and last[1] ~= SUM and (not newest or expiry > newest[1] or (expiry == newest[1] and last[1] > newest[2])) then
      newest = {expiry, last[1]}
    end
  end
  return newest and release(holds, newest, 2) or 0
end

local function release_all(holds)
  local all = holds.held
  if holds.stored then
    redis.call('DEL', holds.key)
  end
  holds.held, holds.fresh, holds.stored = 0, {}, false
  return all
end

local function save_holds(holds, life)
  if not holds.changed then
    return
  elseif holds.held == 0 then
    if holds.stored then
      redis.call('DEL', holds.key)
    end
    return
  end
  local words = {format(WHOLE, -holds.held), SUM}
  for i = 1, #holds.fresh do
    words[#words + 1], words[#words + 2] = format(WHOLE, holds.fresh[i][1]), holds.fresh[i][2]
  end
  redis.call('ZADD', holds.key, unpack(words))
  -- Never sooner: holds that were taken with a longer ttl, before a reload or by another replica, are still there.
  if #holds.fresh > 0 and redis.call('PTTL', holds.key) < tonumber(life) then
    redis.call('PEXPIRE', holds.key, life)
  end
end

return load_holds, is_fresh, take, release, release_newest, release_all, save_holds
