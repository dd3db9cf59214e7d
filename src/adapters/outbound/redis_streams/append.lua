-- Publish consecutive entries of one stream: all of them, or those before the first error.
--
-- KEYS  1 stream · 2 facts
-- ARGV  1 generation · 2 owner · 3 when its start was said, in milliseconds · 4 milliseconds to live
--       5 position of the first entry · 6 first_seq · 7 last_seq · 8 ledger · 9 state
--       10 first position to keep · 11 its generation
--       then for each entry: type · seq · received_at_ms · audio, or data for other types
-- Reply {'appended', next}, with resumed (1/0) and run behind it where the run has ended
--    or {'hole', next} | {'vanished'} | {'failed', next, error}
--    or {'fenced', generation, position behind the last entry of the caller's that stands, or '',
--        whether who holds the stream said its start before the caller and has reclaimed it (1/0)}
--
-- What has ended takes nothing more: a call whose answer was given up may still arrive, after the
-- run was ended from what was published by then.
local stream, facts = KEYS[1], KEYS[2]
local generation, position = ARGV[1], tonumber(ARGV[5])
local held = redis.call('HMGET', facts, 'generation', 'owner', 'next', 'trimmed', 'state')
local next = tonumber(held[3] or 0)
local after = position + (#ARGV - 11) / 4
local is_ours = held[1] == generation and held[2] == ARGV[2]

-- With entries to write XADD tells whether the stream is there; without, it has to be asked for.
local writes = is_ours and position <= next and after > next and held[5] ~= 'ended'
if not held[1] or not writes and redis.call('EXISTS', stream) == 0 then return {'vanished'} end

local function int(number) return string.format('%.0f', number) end

local function appended(position)
  if ARGV[9] ~= 'ended' then return {'appended', int(position)} end
  return {'appended', int(position), unpack(redis.call('HMGET', facts, 'resumed', 'run'))}
end

if not is_ours then
  local holder = redis.call('HMGET', facts, 'reclaimed', 'said_at_ms')
  local is_past = holder[1] == '1' and tonumber(holder[2]) < tonumber(ARGV[3]) and '1' or '0'
  if held[2] ~= '' and tonumber(held[1]) <= tonumber(generation) then -- another beginning
    return {'fenced', held[1], '0', is_past}
  end
  local last = redis.call('XREVRANGE', stream, generation .. '-' .. int(2^53), generation .. '-0',
                          'COUNT', 1)[1]
  local stands = last and tonumber(string.match(last[1], '-(%d+)$')) + 1 or 0
  if last and last[2][2] == 'ended' then stands = stands - 1 end -- it may be another's
  return {'fenced', held[1], int(math.max(stands, tonumber(held[4]))), is_past}
end

if position > next then return {'hole', int(next)} end
local says_nothing_new = after < next or after == next and #ARGV > 11
if says_nothing_new then return appended(next) end
if held[5] == 'ended' then
  -- an account alone, of the run as it ended, only asks whether all of it is still there
  if #ARGV == 11 and ARGV[9] == 'ended' then return appended(next) end
  return {'fenced', held[1], '', '0'}
end

local failure, last_seq = nil, ''
for i = 12, #ARGV, 4 do
  if position >= next then -- below it: stored by an earlier call whose answer was lost
    local id, kind, reply = generation .. '-' .. int(position), ARGV[i], nil
    if kind == 'audio' then
      reply = redis.pcall('XADD', stream, 'NOMKSTREAM', id, 'type', 'audio', 'seq', ARGV[i + 1],
                          'received_at_ms', ARGV[i + 2], 'audio', ARGV[i + 3])
    else
      reply = redis.pcall('XADD', stream, 'NOMKSTREAM', id, 'type', kind, 'data', ARGV[i + 3])
    end
    if not reply then return {'vanished'} end -- at the first, before anything is written
    if type(reply) == 'table' and reply.err and #redis.call('XRANGE', stream, id, id) > 0 then
      reply = id -- ours, of a call that was stopped half-way: its next command was refused
    end
    if type(reply) == 'table' and reply.err then
      failure = reply.err
      break
    end
    if kind == 'ended' then
      local its = redis.call('HMGET', facts, 'started', 'resumed', 'run')
      redis.call('HSET', facts, 'announce:' .. id, 'ended ' .. its[2] .. ' '
                 .. cjson.decode(its[1])['interaction_id'] .. ' ' .. its[3])
    end
    next = position + 1
    if kind == 'audio' then last_seq = ARGV[i + 1] end
  end
  position = position + 1
end

if failure then
  redis.call('HSET', facts, 'next', int(next))
  if last_seq ~= '' then redis.call('HSET', facts, 'last_seq', last_seq) end
  return {'failed', int(next), failure}
end

local known = {'next', int(next), 'ledger', ARGV[8], 'state', ARGV[9]}
if ARGV[6] ~= '' then known[7], known[8] = 'first_seq', ARGV[6] end
if ARGV[7] ~= '' then known[#known + 1], known[#known + 2] = 'last_seq', ARGV[7] end
redis.call('HSET', facts, unpack(known))
local keep_from = tonumber(ARGV[10])
if keep_from > tonumber(held[4]) then
  redis.call('XTRIM', stream, 'MINID', '=', ARGV[11] .. '-' .. int(keep_from))
  redis.call('HSET', facts, 'trimmed', int(keep_from))
end
redis.call('PEXPIRE', stream, ARGV[4])
redis.call('PEXPIRE', facts, ARGV[4])
return appended(next)
