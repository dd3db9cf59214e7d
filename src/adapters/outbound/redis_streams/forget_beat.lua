-- Forget that a stream was tended, unless it was tended again meanwhile.
--
-- KEYS  1 beats
-- ARGV  1 stream · 2 its last beat, as it was read
if redis.call('ZSCORE', KEYS[1], ARGV[1]) == ARGV[2] then redis.call('ZREM', KEYS[1], ARGV[1]) end
return redis.status_reply('OK')
