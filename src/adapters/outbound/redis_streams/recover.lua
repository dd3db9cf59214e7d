-- End the open run of a stream whose process is gone, if it is still the same owner's.
-- Nobody owns it then: what the process would still send, if it was only frozen, is fenced.
--
-- KEYS  1 stream · 2 facts
-- ARGV  1 owner · 2 milliseconds to live
-- Reply {'ended', generation, position, interaction_id} | {'nothing'}
local stream, facts = KEYS[1], KEYS[2]
local held = redis.call('HMGET', facts, 'owner', 'state', 'generation', 'next', 'ledger', 'started')
if held[1] ~= ARGV[1] or not (held[2] == 'live' or held[2] == 'cut') then return {'nothing'} end
if redis.call('EXISTS', stream) == 0 then return {'nothing'} end

local function int(number) return string.format('%.0f', number) end

local position = tonumber(held[4])
redis.call('XADD', stream, held[3] .. '-' .. int(position), 'type', 'ended', 'data',
           '{"reason":"disconnected","ledger":' .. held[5] .. ',"recovered":true}')
redis.call('HSET', facts, 'owner', '', 'state', 'ended', 'next', int(position + 1))
redis.call('PEXPIRE', stream, ARGV[2])
redis.call('PEXPIRE', facts, ARGV[2])
return {'ended', held[3], int(position), cjson.decode(held[6])['interaction_id']}
