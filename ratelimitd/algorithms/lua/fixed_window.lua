-- A plain integer, as INCRBY stores it, in a key named after its window: envoyproxy/ratelimit may share the counter.
-- The host's clock chose the key, so the step uses the host's clock too. Most charges are only added: see count.lua.

return {
  host_clock = true,

  load = function(key)
    local value = redis.call('GET', key)
    if not value then
      return nil
    end
    if not string.find(value, '^%-?%d+$') then
      error('ERR value is not an integer or out of range', 0)
    end
    return min(max(tonumber(value), 0), SATURATED)
  end,

  step = function(state, numbers, cost, now, flags)
    local quota, window, count_rejected = numbers[1], numbers[2], numbers[3]
    local before = state or 0
    local after, rest, retry = before + cost, window - now % window, 0
    local need = flags >= POST_PAID and cost == 0 and 1 or cost
    if cost < 0 then
      after = max(after, 0)
    elseif flags >= SETTLES then
      after = min(after, SATURATED)
      if cost > 0 and before + cost > quota then
        retry = quota > 0 and rest or NEVER
      end
    elseif before + need > quota then
      retry = need <= quota and rest or NEVER
      after = count_rejected == 1 and min(after, SATURATED) or before
    end
    local allowed = retry == 0 and 1 or 0
    if after == 0 then
      return nil, allowed, quota, rest, retry, before
    end
    return after, allowed, max(quota - after, 0), rest, retry, before
  end,

  save = function(key, state, life)
    redis.call('SET', key, format(WHOLE, state), 'PX', life)
  end,
}
