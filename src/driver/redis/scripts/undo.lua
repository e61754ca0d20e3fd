-- KEYS[1] is a principal's sessions. ARGV: a uid, the score with which it was added, the score before or ''
-- if it was not there. Makes it what it was, unless it was added again. Answers {'done'}.
local score = redis.call('ZSCORE', KEYS[1], ARGV[1])
if score and tonumber(score) == tonumber(ARGV[2]) then
  if ARGV[3] == '' then
    redis.call('ZREM', KEYS[1], ARGV[1])
  else
    redis.call('ZADD', KEYS[1], ARGV[3], ARGV[1])
  end
end
return {'done'}
