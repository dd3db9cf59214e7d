-- Remove a stream from the open runs, unless it has another heartbeat by now.
--
-- KEYS  1 heartbeats
-- ARGV  1 stream · 2 its heartbeat, as it was read
local last = redis.call('ZSCORE', KEYS[1], ARGV[1])
if last and tonumber(last) == tonumber(ARGV[2]) then redis.call('ZREM', KEYS[1], ARGV[1]) end
return redis.status_reply('OK')
