-- A sorted set with one member per charge. The score is its time (µs); the member is "total:cost", with the running
-- total including the charge. Totals have 16 digits, so that members of the same µs sort in the order of arrival.
--
-- The state is {key, top, base, first, last}: the key, the newest entry, the total before the oldest live entry, the
-- rank of that entry, and the highest rank.
-- An entry that is in Redis has a rank. A new entry has a reference to the entry below it, or nil. Only save writes; it
-- finds the new entries by descending to the first entry with a rank.

local function entry_at(key, rank)
  local pair = redis.call('ZRANGE', key, rank, rank, 'WITHSCORES')
  local total, cost = string.match(pair[1], '^(%d+):(%d+)$')
  local time
  time, total, cost = stored(pair[2], total, cost)
  return {time = time, total = total, cost = cost, rank = rank}
end

-- Returns the oldest live entry whose total is at least the given one.
local function find(state, total)
  local entry = state.top
  while not entry.rank do
    if not entry.below or entry.below.total < total then
      return entry
    end
    entry = entry.below
  end
  local low, high = state.first, entry.rank - 1
  while low <= high do
    local middle = floor((low + high) / 2)
    local candidate = entry_at(state.key, middle)
    if candidate.total >= total then
      entry, high = candidate, middle - 1
    else
      low = middle + 1
    end
  end
  return entry
end

local function with_top(state, top)
  return {key = state.key, top = top, base = state.base, first = state.first, last = state.last}
end

local function shortened(state, total)
  local entry = find(state, total)
  if entry.total == total then
    return with_top(state, entry)
  end
  local below = entry.below
  if entry.rank and entry.rank > state.first then
    below = entry_at(state.key, entry.rank - 1)
  end
  local cost = entry.cost - (entry.total - total)
  return with_top(state, {time = entry.time, total = total, cost = cost, below = below})
end

-- Returns the log with a cost at this time, which the newest entry of a full log takes.
local function settled(state, time, cost, full)
  local top = state.top
  if not full then
    local total = (top and top.total or state.base) + cost
    return with_top(state, {time = time, total = total, cost = cost, below = top})
  end
  local below = top.below
  if top.rank and top.rank > state.first then
    below = entry_at(state.key, top.rank - 1)
  end
  return with_top(state, {time = time, total = top.total + cost, cost = top.cost + cost, below = below})
end

-- Returns the usage of the log at the time of its newest entry as one charge at now; saving it replaces every entry.
local function moved(state, now)
  local used = state.top.total - state.base
  return {key = state.key, top = {time = now, total = used, cost = used}, base = 0, first = 0, last = state.last}
end

return {
  load = function(key, numbers, now)
    local size = redis.call('ZCARD', key)
    if size == 0 then
      return nil
    end
    local top = entry_at(key, size - 1)
    local gone = max(now, top.time) - numbers[2]
    local first = redis.call('ZCOUNT', key, '-inf', format(WHOLE, gone))
    if first == size then
      return {key = key, base = 0, first = 0}
    end
    local oldest = entry_at(key, first)
    local base = oldest.total - oldest.cost
    if top.total < base then
      foreign()
    end
    return {key = key, top = top, base = base, first = first, last = size - 1}
  end,

  last = function(state)
    return state.top and state.top.time or 0
  end,

  step = function(state, numbers, cost, now, flags)
    local quota, window, ceiling = numbers[1], numbers[2], numbers[3]
    state = state or {base = 0, first = 0}
    if state.top and state.top.time - now > SMALL_STEP then
      state = moved(state, now)
    end
    local top = state.top
    local time, used, retry = now, 0, 0
    if top then
      time, used = max(now, top.time), top.total - state.base
    end
    local before = used
    local need = flags >= POST_PAID and cost == 0 and 1 or cost
    if flags >= SETTLES and cost >= 0 then
      local paid = max(min(cost, ceiling - used), 0)
      if paid > 0 then
        state = settled(state, time, paid, used >= quota)
        used = used + paid
      end
      if cost > 0 and before + cost > quota then
        retry = quota > 0 and find(state, state.base + used + 1 - quota).time + window - now or NEVER
      end
    elseif need >= 0 and used + need > quota then
      retry = need <= quota and find(state, state.base + used + need - quota).time + window - now or NEVER
    elseif cost > 0 then
      used = used + cost
      state = with_top(state, {time = time, total = state.base + used, cost = cost, below = top})
    elseif cost < 0 then
      used = max(used + cost, 0)
      if used > 0 then
        state = shortened(state, state.base + used)
      end
    end
    local allowed = retry == 0 and 1 or 0
    if used == 0 then
      return nil, allowed, quota, 0, retry, before
    end
    return state, allowed, max(quota - used, 0), state.top.time + window - now, retry, before
  end,

  -- Commands that need memory run first if possible: once a script has removed data, Redis no longer refuses it memory.
  save = function(key, state, life, existed)
    local fresh, entry = {}, state.top
    while entry and not entry.rank do
      fresh[#fresh + 1] = entry
      entry = entry.below
    end
    if not entry and existed then
      redis.call('DEL', key)
    elseif entry and entry.rank < state.last then
      redis.call('ZREMRANGEBYRANK', key, entry.rank + 1, -1)
    end
    for i = #fresh, 1, -1 do
      redis.call('ZADD', key, format(WHOLE, fresh[i].time), format('%016.0f:%.0f', fresh[i].total, fresh[i].cost))
    end
    if entry and state.first > 0 then
      redis.call('ZREMRANGEBYRANK', key, 0, state.first - 1)
    end
    redis.call('PEXPIRE', key, life)
  end,
}
