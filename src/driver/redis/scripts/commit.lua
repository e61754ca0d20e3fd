-- ARGV: as in target.lua, and the shape for which other keys were prepared or '' if none had to be, garbage
-- time, longest time, idle time or '', most items, most bytes, longest text; how many fields, each as name,
-- whether it is kept, value; how many applications, each as prefix, whether it is emptied, whether an item is
-- stored, how many items, each as key, whether it is kept, value.
-- Answers {'done', record}, {'none'}, {'rotated'}, {'changed'} if it has another shape, {'totals', ...} if there
-- would be too much.
if ARGV[7] ~= '' and ARGV[7] ~= shape then
  return {'changed'}
end

-- What is to be written is put together first: a script that has written is not undone.
local changed, ends = {}, stored['end']
local function change(field, kept, value)
  changed[is_part[field] and 'rec' or field] = true
  stored[field] = kept and value or nil
end

local at = 14
if new_key ~= '' then
  change('prev', true, stored.key)
  change('key', true, new_key)
  change('rot', true, ARGV[4])
end
local fields = tonumber(ARGV[at])
at = at + 1
for _ = 1, fields do
  change(ARGV[at], ARGV[at + 1] == '1', ARGV[at + 2])
  at = at + 3
end
if ARGV[10] ~= '' then
  local expires = tonumber(stored.use) + tonumber(ARGV[10])
  local is_sooner = expires < tonumber(stored['end'])
  change('exp', true, is_sooner and string.format('%.0f', expires) or stored['end'])
end
local applications = tonumber(ARGV[at])
at = at + 1
for _ = 1, applications do
  local prefix, is_emptied, stores = ARGV[at], ARGV[at + 1] == '1', ARGV[at + 2] == '1'
  local items = tonumber(ARGV[at + 3])
  at = at + 4
  if is_emptied then
    local names = {}
    for field in pairs(stored) do
      if field:sub(1, #prefix) == prefix then
        names[#names + 1] = field
      end
    end
    for _, field in ipairs(names) do
      change(field, false)
    end
  end
  for _ = 1, items do
    change(prefix .. ARGV[at], ARGV[at + 1] == '1', ARGV[at + 2])
    at = at + 3
  end
  if stores then
    local sums = totals(prefix)
    if exceeds(sums, ARGV[11], ARGV[12], ARGV[13]) then
      return sums
    end
  end
end

if changed.rec then
  put_together()
end
for field in pairs(changed) do
  if stored[field] then
    redis.call('HSET', KEYS[1], field, stored[field])
  else
    redis.call('HDEL', KEYS[1], field)
  end
end
if stored['end'] ~= ends then
  set_garbage_time(ARGV[4], ARGV[8], ARGV[9])
end
return {'done', record()}
