-- KEYS[1] is a principal's sessions. ARGV: a uid, its score. Takes it out, unless it was added again or its
-- commit may be under way. Answers {'done'}.
local score, time = redis.call('ZSCORE', KEYS[1], ARGV[1]), redis.call('TIME')
if score and tonumber(score) == tonumber(ARGV[2]) and tonumber(score) <= time[1] * 1000000 + time[2] then
  redis.call('ZREM', KEYS[1], ARGV[1])
end
return {'done'}
