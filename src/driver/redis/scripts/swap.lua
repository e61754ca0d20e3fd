-- KEYS[1] is the version or the lock of an environment. ARGV: what it must be, what it becomes or '' for
-- nothing, time to live or '' for ever. Answers {'done'} or {'none'}.
if (redis.call('GET', KEYS[1]) or '') ~= ARGV[1] then
  return {'none'}
end
if ARGV[2] == '' then
  redis.call('DEL', KEYS[1])
elseif ARGV[3] == '' then
  redis.call('SET', KEYS[1], ARGV[2])
else
  redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
end
return {'done'}
