-- Behind `key` is the key where a session lies, behind `from` its uid or '', its key or '', now, how many bytes and
-- how many fields it may have before, how many items are stored, each as field and value, and to `last` the fields
-- that are removed.
-- Answers the record, and false for what it has not, or the place of the session if there is its alias; or nothing
-- if it is not that session, not live or too large, or if the calls before have read a mebibyte, and then nothing is
-- changed.
local spent, PLACES = 0, {rec = 1, pri = 2, note = 3}

local function one(key, from, last)
  if spent > 1048576 then
    return false
  end
  local flat = redis.call('HGETALL', KEYS[key + 1])
  if #flat == 2 and flat[1] == 'home' then
    return flat[2]
  end
  local bytes, record = 0, {'', false, false}
  for at = 1, #flat, 2 do
    local field, value = flat[at], flat[at + 1]
    bytes = bytes + #field + #value
    if PLACES[field] then
      record[PLACES[field]] = value
    end
  end
  spent = spent + bytes
  -- The uid has 32 digits and the key 64, so their places are known: a pattern for all parts takes twice as long.
  local rec = record[1]
  local expires = rec:find(' ', 1, true) == 33 and rec:find(' ', 34, true) == 98
    and rec:match('^ (%S+) %S+ %S+ %S+ %S+ %S+ %S+$', 98)
  local is_the_one = expires and (ARGV[from + 1] == '' or ARGV[from + 1] == rec:sub(1, 32))
    and (ARGV[from + 2] == '' or ARGV[from + 2] == rec:sub(34, 97))
  if not is_the_one or tonumber(expires) <= tonumber(ARGV[from + 3]) then
    return false
  end
  if bytes > tonumber(ARGV[from + 4]) or #flat / 2 > tonumber(ARGV[from + 5]) then
    return false
  end
  local removed = from + 7 + 2 * tonumber(ARGV[from + 6])
  if removed > from + 7 then
    redis.call('HSET', KEYS[key + 1], unpack(ARGV, from + 7, removed - 1))
  end
  if removed <= last then
    redis.call('HDEL', KEYS[key + 1], unpack(ARGV, removed, last))
  end
  return record
end
