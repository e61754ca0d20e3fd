-- ARGV: key, uid, prefix of the wanted items or '', most items, most bytes, longest text.
-- Answers {'found', record, items}, {'none'}, {'totals', ...} if there is too much.
if not is_asked_for() then
  return {'none'}
end
local prefix, items = ARGV[3], {}
if prefix ~= '' then
  local sums = totals(prefix)
  if exceeds(sums, ARGV[4], ARGV[5], ARGV[6]) then
    return sums
  end
  for field, value in pairs(stored) do
    if field:sub(1, #prefix) == prefix then
      items[#items + 1] = field:sub(#prefix + 1)
      items[#items + 1] = value
    end
  end
end
return {'found', record(), items}
