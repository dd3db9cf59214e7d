-- Do with short-lived keys what publishing does with its own: a missing right shows here.
--
-- KEYS  1 stream · 2 facts · 3 heartbeats
-- ARGV  1 milliseconds to live
--
-- What needs memory comes first: after a first write a script is not refused for want of it.
local stream, facts, heartbeats = KEYS[1], KEYS[2], KEYS[3]
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
redis.call('DEL', heartbeats) -- also first: what is set must not be left
redis.call('SET', heartbeats, '1', 'PX', ARGV[1])
redis.call('DEL', heartbeats)
redis.call('ZADD', heartbeats, '1', 'probe')
redis.call('ZSCORE', heartbeats, 'probe')
redis.call('ZREM', heartbeats, 'probe')
redis.call('PEXPIRE', stream, ARGV[1])
redis.call('PEXPIRE', facts, ARGV[1])
return redis.call('TIME')
