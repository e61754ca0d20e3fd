-- Behind `key` is the key where a session lies, behind `from` the most bytes.
-- Answers what HGETALL does, or nothing if that has more bytes, or if the calls before have read a mebibyte.
local spent = 0

local function one(key, from)
  if spent > 1048576 then
    return false
  end
  local flat, bytes = redis.call('HGETALL', KEYS[key + 1]), 0
  for at = 1, #flat do
    bytes = bytes + #flat[at]
  end
  spent = spent + bytes
  return bytes <= tonumber(ARGV[from + 1]) and flat
end
