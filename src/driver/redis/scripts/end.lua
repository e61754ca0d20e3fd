-- ARGV: key, uid, condition, its arguments: 'principal' and who, 'range' and from and until, or '' for none.
-- Answers {'ended', record} or {'none'}.
if not stored.uid then
  return {'none'}
end
if ARGV[3] == 'range' then
  local expires = tonumber(stored.exp)
  if not expires or expires < tonumber(ARGV[4]) or expires >= tonumber(ARGV[5]) then
    return {'none'}
  end
elseif not is_asked_for() or (ARGV[2] == '' and stored.key ~= ARGV[1]) then
  return {'none'}
elseif ARGV[3] == 'principal' and stored.pri ~= ARGV[4] then
  return {'none'}
end
redis.call('DEL', KEYS[1])
return {'ended', record()}
