-- ARGV: as in target.lua. Answers what a commit would: {'done', record}, {'none'}, {'rotated'}.
return {'done', record()}
