-- KEYS[1] is a principal's sessions, by when they were added. ARGV: the uid, its time to live, which the set
-- keeps to as well, and how many others there may be, or '' for any number.
-- Answers {'done'}, or {'full', others}, each other as its uid, when it was added, and for how long.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if ARGV[3] ~= '' then
  local flat, others = redis.call('ZRANGE', KEYS[1], 0, -1, 'WITHSCORES'), {}
  for at = 1, #flat, 2 do
    if flat[at] ~= ARGV[1] then
      others[#others + 1] = {flat[at], flat[at + 1], now - tonumber(flat[at + 1])}
    end
  end
  if #others > tonumber(ARGV[3]) then
    return {'full', others}
  end
end
redis.call('ZADD', KEYS[1], string.format('%.0f', now), ARGV[1])
if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[2]) then
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
return {'done'}
