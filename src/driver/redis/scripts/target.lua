-- What a commit asks for. ARGV behind the key and the uid: target, now, retired after, new key or ''.
local target, now, new_key = ARGV[3], tonumber(ARGV[4]), ARGV[6]
if not is_asked_for() then
  return {'none'}
end
if target ~= 'existing' and tonumber(stored.exp) <= now then
  return {'none'}
end
if target == 'presented' and stored.key ~= ARGV[1] then
  if stored.rot and tonumber(stored.rot) > tonumber(ARGV[5]) then
    return {'rotated'}
  end
  return {'none'}
end
if target == 'existing' and ARGV[2] == '' and stored.key ~= ARGV[1] then
  return {'none'}
end
if target == 'seen' and new_key ~= '' and stored.key ~= ARGV[1] then
  return {'rotated'}
end

-- All of the record that other keys have to agree with.
local shape = stored.key .. ' ' .. stored['end'] .. (stored.pri and ' ' .. stored.pri or '')
