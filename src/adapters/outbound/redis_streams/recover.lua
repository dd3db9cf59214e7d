-- End the open run of a stream whose process is gone, if it is still the same owner's.
-- Nobody owns it then: what the process would still send, if it was only frozen, is fenced.
--
-- KEYS  1 stream · 2 facts
-- ARGV  1 owner · 2 milliseconds to live
-- Reply {'ended' or 'nothing', {what is to be announced}}
local stream, facts = KEYS[1], KEYS[2]

-- What this stream has still to announce: 'generation-position type resumed interaction_id run'. A
-- field of the facts for each, set with the entry and deleted when the index has it.
local function due()
  local found, fields = {}, redis.call('HGETALL', facts)
  for i = 1, #fields, 2 do
    local place = string.match(fields[i], '^announce:(.*)$')
    if place then found[#found + 1] = place .. ' ' .. fields[i + 1] end
  end
  return found
end

local held = redis.call('HMGET', facts, 'owner', 'state', 'generation', 'next', 'ledger', 'started',
                        'resumed', 'run')
if held[1] ~= ARGV[1] then return {'nothing', {}} end
if not (held[2] == 'live' or held[2] == 'cut') or redis.call('EXISTS', stream) == 0 then
  return {'nothing', due()}
end

local function int(number) return string.format('%.0f', number) end

-- First what is written last: a script that is refused a command leaves what it has written.
redis.call('HSET', facts, 'generation', held[3])

local position = tonumber(held[4])
local id = held[3] .. '-' .. int(position)
redis.call('XADD', stream, id, 'type', 'ended', 'data',
           '{"reason":"disconnected","ledger":' .. held[5] .. ',"recovered":true}')
redis.call('HSET', facts, 'owner', '', 'state', 'ended', 'next', int(position + 1),
           'announce:' .. id, 'ended ' .. held[7] .. ' '
                              .. cjson.decode(held[6])['interaction_id'] .. ' ' .. held[8])
redis.call('PEXPIRE', stream, ARGV[2])
redis.call('PEXPIRE', facts, ARGV[2])
return {'ended', due()}
