-- Take the next generation of a stream and publish its start, in one step.
--
-- KEYS  1 stream · 2 facts
-- ARGV  1 owner · 2 has token (1/0) · 3 continuation: anew, go_on, above or undecided
--       4 the sender's first seq, for above · 5 format of the audio
--       6 start as JSON, without its closing brace · 7 milliseconds to live
--       8 again (1/0): only answer if the owner holds the stream already
-- Reply {'granted', generation, resumed (1/0), position, first_seq, last_seq, ledger,
--        'position interaction_id' of the end written for the run that was open, or ''}
--    or {'forbidden'} or {'undecided'} or {'fenced', generation}
local stream, facts = KEYS[1], KEYS[2]
local owner, has_token, continuation, sender_seq, format, started, ttl, again = unpack(ARGV)
local held = redis.call('HMGET', facts, 'generation', 'owner', 'state', 'next', 'first_seq',
                        'last_seq', 'ledger', 'access', 'format', 'resumed', 'closed_run',
                        'started')
local generation, holder, state = tonumber(held[1] or 0), held[2], held[3]
local position = tonumber(held[4] or 0)
local first_seq, last_seq, ledger = held[5] or '', held[6] or '', held[7] or ''

local function int(number) return string.format('%.0f', number) end

if holder == owner then -- said again: the answer of the first time
  return {'granted', int(generation), held[10], int(position - 1), first_seq, last_seq, ledger,
          held[11]}
end

if again == '1' then return {'fenced', int(generation)} end

local open = state == 'live' or state == 'cut'
if open and held[8] == 'token' and has_token == '0' then return {'forbidden'} end

if open and continuation == 'undecided' then return {'undecided'} end

local goes_on = continuation == 'go_on' or continuation == 'above'
                and (last_seq == '' or tonumber(sender_seq) > tonumber(last_seq))
local resumed = open and goes_on and held[9] == format
local closed_run = ''
if open and not resumed then
  redis.call('XADD', stream, int(generation) .. '-' .. int(position), 'type', 'ended',
             'data', '{"reason":"disconnected","ledger":' .. ledger .. '}')
  closed_run = int(position) .. ' ' .. cjson.decode(held[12])['interaction_id']
  position = position + 1
end

generation = generation + 1
redis.call('XADD', stream, int(generation) .. '-' .. int(position), 'type', 'started',
           'data', started .. ',"generation":' .. int(generation)
                   .. ',"resumed":' .. tostring(resumed) .. '}')
redis.call('HSET', facts,
           'generation', int(generation), 'owner', owner, 'state', 'live',
           'next', int(position + 1), 'format', format, 'resumed', resumed and '1' or '0',
           'closed_run', closed_run,
           'started', started .. ',"generation":' .. int(generation)
                      .. ',"resumed":' .. tostring(resumed) .. '}')
if not resumed then
  first_seq, last_seq, ledger = '', '', ''
  redis.call('HDEL', facts, 'first_seq', 'last_seq')
  redis.call('HSET', facts, 'access', has_token == '1' and 'token' or 'open', 'ledger',
             '{"received":0,"published":0,"duplicate":0,"rejected":0,"lost":0,"missing":0,'
             .. '"bytes":0,"audio_ms":0}')
end
redis.call('HSETNX', facts, 'trimmed', '0')
redis.call('PEXPIRE', stream, ttl)
redis.call('PEXPIRE', facts, ttl)
return {'granted', int(generation), resumed and '1' or '0', int(position), first_seq, last_seq,
        ledger, closed_run}
