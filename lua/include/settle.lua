-- Included by other scripts: what a plan's end does to what the judges hold for it, once the scripts have decided that
-- it happens. Needs `include/decimal`. Nothing here is repeated safely: the caller's state decides that it runs once.

-- Gives back what the plan holds of the Governor's limits: `held` is its day's key, notional in 10^-6, quantity in 10^-8.
local function give_back(held, reservation, granted, plan_id)
  redis.call('ZREM', granted, plan_id)
  -- A day whose figures have expired must not come back, negative and without a life.
  if redis.call('EXISTS', held[1]) == 1 then
    -- Where no price was known nothing was counted, and "-0" is no integer to Redis.
    if held[2] ~= '0' then redis.call('HINCRBY', held[1], 'notional_micro', '-' .. held[2]) end
    redis.call('HINCRBY', held[1], 'qty_e8', '-' .. held[3])
  end
  redis.call('DEL', reservation)
end

-- Moves the shadow ledger by an order of ours; tells the new amount, or '' where there was none to move.
local function move_ledger(ledger, order, time, ttl_s)
  -- Without a ledger there is nothing to move: the next judgement takes it from the venue as it is then. The
  -- order's time is kept all the same, to the microsecond, so that answers from before it are told from later ones.
  local amount, moved, places = decimal_pair(redis.call('HGET', ledger, 'last_known_amt') or '', order.change)
  local text = amount and decimal_text(amount + moved, places) or ''
  if amount then redis.call('HSET', ledger, 'last_known_amt', text) end
  redis.call('HSET', ledger, 'last_order_id', order.id, 'last_result_plan_id', order.plan_id, 'last_executed_qty',
    order.qty, 'last_side', order.side, 'last_order_at', string.format('%s.%06d', time[1], tonumber(time[2])),
    'updated_at', string.format('%s.%03d', time[1], math.floor(tonumber(time[2]) / 1000)))
  redis.call('EXPIRE', ledger, ttl_s)
  return text
end
