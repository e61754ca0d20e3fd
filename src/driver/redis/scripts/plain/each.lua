-- Runs `one` for each call. KEYS: those of all calls, of each as many. ARGV: how many keys a call has, then for each
-- call how many arguments it has, and the arguments.
-- Answers what `one` does for each, or nothing where it fails.
local answers, keys, from = {}, tonumber(ARGV[1]), 2
for call = 1, #KEYS / keys do
  local last = from + tonumber(ARGV[from])
  local is_done, answer = pcall(one, (call - 1) * keys, from, last)
  answers[call] = is_done and answer
  from = last + 1
end
return answers
