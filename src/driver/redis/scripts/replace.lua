-- ARGV: '', uid, now, prefix, key, whether an item is expected, its text, the new text, longest text to
-- answer, most items, most bytes, longest text.
-- Answers {'done'}, {'none'}, {'conflict', text or false}, {'totals', ...} if there is or would be too much.
if not is_asked_for() or tonumber(stored.exp) <= tonumber(ARGV[3]) then
  return {'none'}
end
local prefix, field = ARGV[4], ARGV[4] .. ARGV[5]
local current = stored[field]
if current and #current > tonumber(ARGV[9]) then
  return {'totals', 1, #current + #ARGV[5], #current}
end
local expected = ARGV[6] == '1' and ARGV[7] or nil
if current ~= expected then
  return {'conflict', current or false}
end
stored[field] = ARGV[8]
local sums = totals(prefix)
if exceeds(sums, ARGV[10], ARGV[11], ARGV[12]) then
  return sums
end
redis.call('HSET', KEYS[1], field, ARGV[8])
return {'done'}
