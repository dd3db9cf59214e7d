-- Do with keys that vanish what publishing does with its own: who has no right to it is told here.
--
-- KEYS  1 stream · 2 facts · 3 beats
-- ARGV  1 milliseconds to live
--
-- What needs memory comes first: after a first write a script is not refused for want of it.
local stream, facts, beats = KEYS[1], KEYS[2], KEYS[3]
local id = redis.call('XADD', stream, '*', 'type', 'probe')
redis.call('XTRIM', stream, 'MINID', '=', id)
redis.call('XRANGE', stream, id, id)
redis.call('XREVRANGE', stream, id, id)
redis.call('EXISTS', stream)
redis.call('XINFO', 'STREAM', stream)
redis.call('HSET', facts, 'next', '1')
redis.call('HDEL', facts, 'next')
redis.call('HGET', facts, 'next')
redis.call('HMGET', facts, 'next', 'trimmed')
redis.call('HGETALL', facts)
redis.call('DEL', beats) -- also first: what is set must not be left
redis.call('SET', beats, '1', 'PX', ARGV[1])
redis.call('DEL', beats)
redis.call('ZADD', beats, '1', 'probe')
redis.call('ZSCORE', beats, 'probe')
redis.call('ZREM', beats, 'probe')
redis.call('PEXPIRE', stream, ARGV[1])
redis.call('PEXPIRE', facts, ARGV[1])
return redis.call('TIME')
