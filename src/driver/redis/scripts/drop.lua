-- KEYS[1] is a principal's sessions. ARGV: a uid, when it was added. Takes it out unless it was added again.
-- Answers {'done'}.
if redis.call('ZSCORE', KEYS[1], ARGV[1]) == ARGV[2] then
  redis.call('ZREM', KEYS[1], ARGV[1])
end
return {'done'}
