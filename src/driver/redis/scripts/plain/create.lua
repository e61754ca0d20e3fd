-- On a server that holds all keys. Behind `key`: where the session is to lie, its reference, the version. Behind
-- `from`: the version that is asked for, what the reference holds, time to live of the reference and of the
-- session, and to `last` the pairs of fields and values.
-- Answers 1 if the session is stored, else nothing, and then nothing is changed.
local function one(key, from, last)
  local session, reference, version = KEYS[key + 1], KEYS[key + 2], KEYS[key + 3]
  if redis.call('GET', version) ~= ARGV[from + 1] or redis.call('EXISTS', session, reference) > 0 then
    return false
  end
  redis.call('SET', reference, ARGV[from + 2], 'PX', ARGV[from + 3])
  redis.call('HSET', session, unpack(ARGV, from + 5, last))
  redis.call('PEXPIRE', session, ARGV[from + 4])
  return 1
end
