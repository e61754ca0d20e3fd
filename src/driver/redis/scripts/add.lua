-- KEYS[1] is a principal's set of sessions. ARGV: the uid, its time to live, which the set keeps to as well.
redis.call('SADD', KEYS[1], ARGV[1])
if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[2]) then
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
return {'done'}
