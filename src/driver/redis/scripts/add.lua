-- KEYS[1] is a principal's sessions. ARGV: the uid, its time to live, which the set keeps to as well, how long
-- its commit may take, how many others there may be, or '' for any number; and the others that do not count,
-- each as its uid and its score. The score is the time, in microseconds, by which the commit is over.
-- Answers {'added', score, score before or '', some others}, or {'full', others}, the others as theirs: each
-- as its uid, its score, and 1 while its commit may be under way. At most STEP more than there may be.
local STEP = 200
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]

local function members(flat)
  local others = {}
  for at = 1, #flat, 2 do
    if flat[at] ~= ARGV[1] then
      others[#others + 1] = {flat[at], flat[at + 1], tonumber(flat[at + 1]) > now and 1 or 0}
    end
  end
  return others
end

if ARGV[4] ~= '' then
  local most, ignored, counted = tonumber(ARGV[4]), {}, {}
  for at = 5, #ARGV, 2 do
    ignored[ARGV[at]] = ARGV[at + 1]
  end
  for _, other in ipairs(members(redis.call('ZRANGE', KEYS[1], 0, -1, 'WITHSCORES'))) do
    if ignored[other[1]] ~= other[2] and #counted < most + STEP then
      counted[#counted + 1] = other
    end
  end
  if #counted > most then
    return {'full', counted}
  end
end

-- Sessions that Redis has forgotten stay here until somebody looks at them.
local some = {}
if redis.call('ZCARD', KEYS[1]) > 16 then
  some = members(redis.call('ZRANDMEMBER', KEYS[1], 8, 'WITHSCORES'))
end
local before = redis.call('ZSCORE', KEYS[1], ARGV[1]) or ''
local score = string.format('%.0f', now + ARGV[3] * 1000)
redis.call('ZADD', KEYS[1], score, ARGV[1])
if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[2]) then
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
return {'added', score, before, some}
