-- Take or renew the lease of a stream for a worker, and commit its position.
-- KEYS: the lease. ARGV: owner, worker, milliseconds (0: release it), fence and position that the
-- owner knows.
-- Answers 1 if the lease is the owner's now, else 0; its fence; its position: that of an owner who
-- came later, or else the one that was sent. Who releases takes nothing from an owner who came later.
local KEEP_MS = 86400000 -- a day: longer than its stream is kept
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local held = redis.call('HMGET', KEYS[1], 'owner', 'fence', 'until', 'position')
local fence, known, position = tonumber(held[2] or 0), tonumber(ARGV[4]), ARGV[5]
if held[1] ~= ARGV[1] then
  local is_held, is_later = tonumber(held[3] or 0) > now, fence > known
  if is_held or (is_later and ARGV[3] == '0') then return {0, fence, held[4]} end
  if is_later then position = held[4] end
  fence = math.max(fence, known) + 1
end
local ends = tonumber(ARGV[3]) > 0 and now + ARGV[3] or 0
redis.call('HSET', KEYS[1], 'owner', ARGV[1], 'worker', ARGV[2], 'fence', fence, 'until', ends,
           'position', position)
redis.call('PEXPIRE', KEYS[1], KEEP_MS)
return {1, fence, position}
