-- Take the next generation of a stream and publish its start, in one step.
--
-- KEYS  1 stream · 2 facts · 3 mark of an owner who gave up
-- ARGV  1 owner · 2 has token (1/0) · 3 continuation: anew, go_on, above, undecided or reclaim
--       4 the sender's first seq, for above · 5 format of the audio
--       6 start as JSON, without its closing brace · 7 milliseconds to live
--       8 again (1/0): only answer if the owner holds the stream already, and mark it as given up
--         if not, so that an earlier call that arrives late begins nothing
--       9 when the start was said, in milliseconds by our clock · 10 who has said so this much later
--         keeps the stream; or '' for a start that was said just now
--       for reclaim, a writer whose stream was forgotten: 9 and said_at_ms of its lease
--       11 generation and 12 owner of its lease · 13 the generation to exceed · 14 the owner before
--       it in its process, or '' · 15 its run · from 16 on the owners behind it in its process
-- Reply {'granted', generation, resumed (1/0), position, first_seq, last_seq, ledger,
--        {what is to be announced}, run, said_at_ms}
--    or {'forbidden'} or {'undecided'} or {'fenced', generation}
local stream, facts = KEYS[1], KEYS[2]
local owner, has_token, continuation, sender_seq, format, started, ttl, again, said_at, late =
  unpack(ARGV)
local reclaims = continuation == 'reclaim'
local held = redis.call('HMGET', facts, 'generation', 'owner', 'state', 'next', 'first_seq',
                        'last_seq', 'ledger', 'access', 'format', 'resumed', 'started', 'run',
                        'said_at_ms', 'reclaimed')
local generation, holder, state = tonumber(held[1] or 0), held[2], held[3]
local position = tonumber(held[4] or 0)
local first_seq, last_seq, ledger = held[5] or '', held[6] or '', held[7] or ''
local holder_said_at = tonumber(held[13] or 0)
said_at = tonumber(said_at)

local function int(number) return string.format('%.0f', number) end

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

local function mark(kind, resumed, json, run)
  return kind .. ' ' .. resumed .. ' ' .. cjson.decode(json)['interaction_id'] .. ' ' .. run
end

if holder == owner then -- said again: the answer of the first time
  return {'granted', int(generation), held[10], int(position - 1), first_seq, last_seq, ledger,
          due(), held[12], held[13]}
end

if again == '1' then
  redis.call('SET', KEYS[3], '1', 'PX', ttl)
  return {'fenced', int(generation)}
end
if redis.call('EXISTS', KEYS[3]) == 1 then return {'fenced', int(generation)} end
if late ~= '' and holder_said_at > said_at + tonumber(late) then
  return {'fenced', int(generation)}
end

local is_gone = false
if reclaims then
  is_gone = not held[1] or redis.call('EXISTS', stream) == 0
  local is_ours = holder == ARGV[12] or ARGV[14] ~= '' and holder == ARGV[14]
  for i = 16, #ARGV do is_ours = is_ours or is_gone and holder == ARGV[i] end
  local is_past = held[14] == '1' and holder_said_at < said_at
  local is_later = generation >= tonumber(ARGV[11]) or holder_said_at > said_at
  if not is_past
     and (generation > tonumber(ARGV[13]) or holder and not is_ours and is_later) then
    return {'fenced', int(generation)}
  end
  if is_gone then
    redis.call('DEL', stream, facts)
    state, position, first_seq, last_seq, ledger = nil, 0, '', '', ''
  end
  generation = math.max(generation, tonumber(ARGV[13]))
end

if not held[1] and not reclaims then -- the facts are gone; the stream may have been left
  local last = redis.call('XREVRANGE', stream, '+', '-', 'COUNT', 1)[1]
  if last then
    local last_generation, last_position = string.match(last[1], '^(%d+)-(%d+)$')
    generation, position = tonumber(last_generation), tonumber(last_position) + 1
  end
end

local open = state == 'live' or state == 'cut'
if open and not reclaims and held[8] == 'token' and has_token == '0' then return {'forbidden'} end

if open and continuation == 'undecided' then return {'undecided'} end

local goes_on = continuation == 'go_on' or reclaims and held[12] == ARGV[15]
                or continuation == 'above'
                and (last_seq == '' or tonumber(sender_seq) > tonumber(last_seq))
local continues = open and goes_on and held[9] == format -- the run that is known
local resumed = continues or is_gone

-- A script that is refused a command is stopped, and what it has written stays: so first of all
-- what is written last is tried.
redis.call('HSET', facts, 'trimmed', redis.call('HGET', facts, 'trimmed') or '0')
redis.call('PEXPIRE', facts, ttl)

if open and not reclaims and redis.call('EXISTS', stream) == 0 then -- the stream is gone
  local function count(name) return tonumber(string.match(ledger, '"' .. name .. '":(%d+)')) end
  local function set(name, value)
    ledger = string.gsub(ledger, '"' .. name .. '":%d+', '"' .. name .. '":' .. int(value))
  end
  redis.call('HSET', facts, 'trimmed', int(position))
  if count('published') > 0 then -- all of it is lost, and nobody else will say so
    local missing = int(tonumber(last_seq) - tonumber(first_seq) + 1)
    redis.call('XADD', stream, held[1] .. '-' .. int(position), 'type', 'gap',
               'data', '{"first_missing":' .. first_seq .. ',"missing":' .. missing .. '}')
    position = position + 1
    set('lost', count('lost') + count('published'))
    set('missing', missing)
    set('published', 0)
    set('bytes', 0)
    set('audio_ms', 0)
    redis.call('HSET', facts, 'ledger', ledger, 'next', int(position))
  end
end

if open and not continues then
  redis.call('XADD', stream, held[1] .. '-' .. int(position), 'type', 'ended',
             'data', '{"reason":"disconnected","ledger":' .. ledger .. '}')
  redis.call('HSET', facts, 'announce:' .. held[1] .. '-' .. int(position),
             mark('ended', held[10], held[11], held[12]))
  position = position + 1
end

local run = reclaims and ARGV[15] or continues and held[12] or owner
if not reclaims then said_at = math.max(said_at, holder_said_at) end
generation = generation + 1
started = started .. ',"generation":' .. int(generation)
          .. ',"run":' .. cjson.encode(run) .. ',"resumed":' .. tostring(resumed) .. '}'
redis.call('XADD', stream, int(generation) .. '-' .. int(position), 'type', 'started',
           'data', started)
redis.call('HSET', facts,
           'generation', int(generation), 'owner', owner, 'state', 'live',
           'next', int(position + 1), 'format', format, 'resumed', resumed and '1' or '0',
           'started', started, 'run', run, 'said_at_ms', int(said_at),
           'reclaimed', reclaims and '1' or '0',
           'announce:' .. int(generation) .. '-' .. int(position),
           mark('started', resumed and '1' or '0', started, run))
if not continues then
  first_seq, last_seq, ledger = '', '', ''
  redis.call('HDEL', facts, 'first_seq', 'last_seq')
  redis.call('HSET', facts, 'access', has_token == '1' and 'token' or 'open', 'ledger',
             '{"received":0,"published":0,"duplicate":0,"rejected":0,"lost":0,"missing":0,'
             .. '"bytes":0,"audio_ms":0}')
end
redis.call('PEXPIRE', stream, ttl)
return {'granted', int(generation), resumed and '1' or '0', int(position), first_seq, last_seq,
        ledger, due(), run, int(said_at)}
