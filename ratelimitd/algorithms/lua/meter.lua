-- "debt last scale": the debt in units of 1/scale of a request, and the time (µs) at which it was that.

local function drained(state, leak, scale, most, drain, now)
  local debt, last, written = state[1], state[2], state[3]
  if written ~= scale then
    debt = min(ceil(debt / written), most / scale) * scale
  end
  debt = min(debt, most)
  local elapsed = now - last
  if elapsed < 0 then
    return debt, -elapsed
  elseif elapsed >= drain then
    return 0, 0
  end
  return max(debt - elapsed * leak, 0), 0
end

return {
  load = function(key)
    local state = load_three(key)
    if state and state[3] == 0 then
      foreign()
    end
    return state
  end,
  save = save_three,

  last = function(state)
    return state[2]
  end,

  step = function(state, numbers, cost, now, flags)
    local leak, scale, burst, full = numbers[1], numbers[2], numbers[3], numbers[4]
    local ceiling, debt, behind = numbers[6], 0, 0
    if state then
      if flags < POST_PAID then
        debt, behind = drained(state, leak, scale, full, numbers[5], now)
      else
        debt, behind = drained(state, leak, scale, ceiling, ceil(ceiling / leak), now)
      end
      if behind > SMALL_STEP then
        state, behind = {debt, now, scale}, 0
      end
    end
    local before, retry = ceil(debt / scale), 0
    local need = flags >= POST_PAID and cost == 0 and 1 or cost
    if flags >= SETTLES and cost >= 0 then
      if cost > 0 then
        debt = debt + min(cost, floor((ceiling - debt) / scale)) * scale
        state = {debt, now + behind, scale}
        if before + cost > burst then
          retry = burst > 0 and behind + ceil((debt - (burst - 1) * scale) / leak) or NEVER
        end
      end
    elseif need > burst then
      retry = NEVER
    elseif need > 0 then
      local over = debt - (burst - need) * scale
      if over > 0 then
        retry = behind + ceil(over / leak)
      elseif cost > 0 then
        debt = debt + cost * scale
        state = {debt, now + behind, scale}
      end
    elseif cost < 0 then
      debt = debt - min(-cost, ceiling / scale) * scale
      state = {debt, now + behind, scale}
    end
    local allowed = retry == 0 and 1 or 0
    if debt <= 0 then
      return nil, allowed, burst, 0, retry, before
    end
    return state, allowed, max(floor((full - debt) / scale), 0), behind + ceil(debt / leak), retry, before
  end,
}
