-- The complete scripts on a session begin with this. KEYS[1] is where a session lies or the alias of one; the first two
-- arguments are the key and the uid that the caller knows, each empty if it knows none.
local stored = {}
local flat = redis.call('HGETALL', KEYS[1])
for at = 1, #flat, 2 do
  stored[flat[at]] = flat[at + 1]
end

-- The parts of the field `rec`, '-' where the record has not one.
local PARTS = {'uid', 'key', 'exp', 'end', 'crt', 'use', 'prev', 'rot', 'cl'}
local is_part = {}
for _, part in ipairs(PARTS) do
  is_part[part] = true
end

-- Whether the record has all its parts.
local function take_apart()
  local at = 1
  for part in stored.rec:gmatch('[^ ]+') do
    stored[PARTS[at] or ''] = part ~= '-' and part or nil
    at = at + 1
  end
  return at == #PARTS + 1
end

if stored.rec and not take_apart() then
  return {'corrupt'}
end

-- The session lies elsewhere: its id was rotated, and this is an alias.
if stored.home and not stored.uid then
  return {'elsewhere', stored.home}
end

local function put_together()
  local parts = {}
  for at, part in ipairs(PARTS) do
    parts[at] = stored[part] or '-'
  end
  stored.rec = table.concat(parts, ' ')
end

-- The record, and false for what it has not.
local function record()
  return {stored.rec, stored.pri or false, stored.note or false}
end

local function is_asked_for()
  if not stored.uid then
    return false
  end
  if ARGV[2] ~= '' then
    return stored.uid == ARGV[2]
  end
  return stored.key == ARGV[1] or stored.prev == ARGV[1]
end

-- How many items an application has, the bytes of all keys and texts, and the longest text.
local function totals(prefix)
  local count, bytes, longest = 0, 0, 0
  for field, value in pairs(stored) do
    if field:sub(1, #prefix) == prefix then
      count = count + 1
      bytes = bytes + #field - #prefix + #value
      longest = math.max(longest, #value)
    end
  end
  return {'totals', count, bytes, longest}
end

local function exceeds(sums, items, bytes, longest)
  return sums[2] > tonumber(items) or sums[3] > tonumber(bytes) or sums[4] > tonumber(longest)
end

-- Redis forgets the session long after its end; until then it is known as expired.
local function set_garbage_time(now, garbage, longest)
  local wait = math.max(tonumber(stored['end']) - tonumber(now), 0) + tonumber(garbage)
  redis.call('PEXPIRE', KEYS[1], string.format('%.0f', math.min(wait, tonumber(longest))))
end
