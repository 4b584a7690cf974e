-- "last current previous": time (µs) of the last change, the count of that window and of the window before.

local function rolled(state, quota, window, now)
  local last, current, previous = state[1], state[2], state[3]
  local time = max(last, now)
  local passed = time - time % window - last
  if passed > 0 then
    previous = passed <= window and current or 0
    current = 0
  end
  return time, min(current, quota), min(previous, quota)
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

  step = function(state, numbers, cost, now)
    local quota, window, tick, ticks = numbers[1], numbers[2], numbers[3], numbers[4]
    local time, current, previous = now, 0, 0
    if state then
      time, current, previous = rolled(state, quota, window, now)
    end
    local into = time % window
    local left = min(ceil((window - into) / tick), ticks)
    local used, retry = current + ceil(previous * left / ticks), 0
    if time - now > SMALL_STEP then
      used = min(used, quota)
      time, current, previous, into = now, used, 0, now % window
      state = {time, current, previous}
    end
    local before = used
    if cost >= 0 and used + cost > quota then
      retry = wait(numbers, current, previous, cost, into, time - now)
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
