-- Behind `key` is the key where a session lies, behind `from` the most bytes.
-- Answers the place of the session if there is its alias, else all fields and values as one JSON array, which is
-- quicker to read than many values: '' if there are none, nothing if they have more bytes than that, or if the
-- calls before have read a mebibyte.
local spent = 0

local function one(key, from)
  if spent > 1048576 then
    return false
  end
  local flat = redis.call('HGETALL', KEYS[key + 1])
  if #flat == 2 and flat[1] == 'home' then
    return flat[2]
  end
  local bytes = 0
  for at = 1, #flat do
    bytes = bytes + #flat[at]
  end
  spent = spent + bytes
  if bytes > tonumber(ARGV[from + 1]) then
    return false
  end
  return bytes > 0 and cjson.encode(flat) or ''
end
