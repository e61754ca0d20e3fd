-- Behind `key` is the key where a session lies, behind `from` its uid or '', its key or '', now, how many bytes and
-- how many fields it may have before, how many items are stored, each as field and value, and to `last` the fields
-- that are removed.
-- Answers the place of the session if there is its alias, else the fields and values of its record as one JSON
-- array, or nothing if it is not that session, not live or too large, or if the calls before have read a mebibyte,
-- and then nothing is changed.
local spent = 0

local function one(key, from, last)
  if spent > 1048576 then
    return false
  end
  local flat = redis.call('HGETALL', KEYS[key + 1])
  if #flat == 2 and flat[1] == 'home' then
    return flat[2]
  end
  local bytes, record, rec = 0, {}, ''
  for at = 1, #flat, 2 do
    local field, value = flat[at], flat[at + 1]
    bytes = bytes + #field + #value
    if field:sub(1, 2) ~= 'i:' then
      record[#record + 1] = field
      record[#record + 1] = value
      rec = field == 'rec' and value or rec
    end
  end
  spent = spent + bytes
  local uid, own_key, expires = rec:match('^(%S+) (%S+) (%S+) %S+ %S+ %S+ %S+ %S+ %S+$')
  local is_the_one = uid and (ARGV[from + 1] == '' or ARGV[from + 1] == uid)
    and (ARGV[from + 2] == '' or ARGV[from + 2] == own_key)
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
  return cjson.encode(record)
end
