-- ARGV: key, uid, now, garbage time, longest time, how many pairs, the pairs of fields and values.
-- Answers {'done'} or {'taken'}.
if next(stored) then
  return {'taken'}
end
for at = 7, 6 + 2 * tonumber(ARGV[6]), 2 do
  stored[ARGV[at]] = ARGV[at + 1]
  redis.call('HSET', KEYS[1], ARGV[at], ARGV[at + 1])
end
take_apart()
set_garbage_time(ARGV[3], ARGV[4], ARGV[5])
return {'done'}
