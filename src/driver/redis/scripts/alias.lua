-- KEYS[1] is where a new id will look. ARGV: where its session lies, time to live.
-- Answers {'done'}, {'elsewhere', home} if it is an alias already, {'taken'}.
local home = redis.call('HGET', KEYS[1], 'home')
if home then
  return {'elsewhere', home}
end
if redis.call('EXISTS', KEYS[1]) == 1 then
  return {'taken'}
end
redis.call('HSET', KEYS[1], 'home', ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return {'done'}
