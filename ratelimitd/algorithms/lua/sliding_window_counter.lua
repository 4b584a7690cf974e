-- "last current previous": time (µs) of the last change, the count of that window and of the window before.

local function rolled(state, most, window, now)
  local last, current, previous = state[1], state[2], state[3]
  local time = max(last, now)
  local passed = time - time % window - last
  if passed > 0 then
    previous = passed <= window and current or 0
    current = 0
  end
  return time, min(current, most), min(previous, most)
end

local function wait(numbers, current, previous, cost, into, behind)
  local quota, window, tick, ticks = numbers[1], numbers[2], numbers[3], numbers[4]
  if cost > quota then
    return NEVER
  end
  local room = quota - current - cost
  if room >= 0 then
    return behind + window - floor(room * ticks / previous) * tick - into
  end
  return behind + 2 * window - floor((quota - cost) * ticks / current) * tick - into
end

return {
  load = load_three,
  save = save_three,

  last = function(state)
    return state[1]
  end,

  step = function(state, numbers, cost, now, flags)
    local quota, window, tick, ticks, ceiling = numbers[1], numbers[2], numbers[3], numbers[4], numbers[5]
    local time, current, previous = now, 0, 0
    local most = flags < POST_PAID and quota or ceiling
    if state then
      time, current, previous = rolled(state, most, window, now)
    end
    local into = time % window
    local left = min(ceil((window - into) / tick), ticks)
    local used, retry = current + ceil(previous * left / ticks), 0
    if time - now > SMALL_STEP then
      used = min(used, most)
      time, current, previous, into = now, used, 0, now % window
      state = {time, current, previous}
    end
    local before = used
    local need = flags >= POST_PAID and cost == 0 and 1 or cost
    if flags >= SETTLES and cost >= 0 then
      local paid = max(min(cost, ceiling - used), 0)
      if paid > 0 then
        current, used = current + paid, used + paid
        state = {time, current, previous}
      end
      if cost > 0 and before + cost > quota then
        retry = wait(numbers, current, previous, 1, into, time - now)
      end
    elseif need >= 0 and used + need > quota then
      retry = wait(numbers, current, previous, need, into, time - now)
    elseif cost ~= 0 then
      current = current + cost
      if current < 0 then
        previous = max(previous + current, 0)
        current = 0
      end
      used = current + ceil(previous * left / ticks)
      state = {time, current, previous}
    end
    local allowed = retry == 0 and 1 or 0
    if current == 0 and previous == 0 then
      return nil, allowed, quota, 0, retry, before
    end
    local reset = time - now - into + (current > 0 and 2 * window or window)
    return state, allowed, max(quota - used, 0), reset, retry, before
  end,
}
