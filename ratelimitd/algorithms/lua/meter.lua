-- "debt last scale": the debt in units of 1/scale of a request, and the time (µs) at which it was that.

local function drained(state, leak, scale, burst, full, drain, now)
  local debt, last, written = state[1], state[2], state[3]
  if written ~= scale then
    debt = min(ceil(debt / written), burst) * scale
  end
  debt = min(debt, full)
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

  step = function(state, numbers, cost, now)
    local leak, scale, burst, full, drain = numbers[1], numbers[2], numbers[3], numbers[4], numbers[5]
    local debt, behind = 0, 0
    if state then
      debt, behind = drained(state, leak, scale, burst, full, drain, now)
      if behind > SMALL_STEP then
        state, behind = {debt, now, scale}, 0
      end
    end
    local before, retry = ceil(debt / scale), 0
    if cost > burst then
      retry = NEVER
    elseif cost > 0 then
      local over = debt - (burst - cost) * scale
      if over > 0 then
        retry = behind + ceil(over / leak)
      else
        debt = debt + cost * scale
        state = {debt, now + behind, scale}
      end
    elseif cost < 0 then
      debt = debt - min(-cost, burst) * scale
      state = {debt, now + behind, scale}
    end
    local allowed = retry == 0 and 1 or 0
    if debt <= 0 then
      return nil, allowed, burst, 0, retry, before
    end
    return state, allowed, floor((full - debt) / scale), behind + ceil(debt / leak), retry, before
  end,
}
