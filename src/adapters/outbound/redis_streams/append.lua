-- Append entries to a stream and put a head after them, if its revision is the one expected.
-- `append_calls.py` has what KEYS and ARGV are.
-- What a script has written stays when a command is refused. So all that can be is tried before the
-- second entry, and until then nothing is changed but the revision; first what needs memory, since
-- a lack of it is only told before anything is written.
local stream, facts, expected = KEYS[1], KEYS[2], ARGV[2]
local held, refusal = redis.call('HGET', facts, 'revision'), nil
local function revision() -- of what is there; of a stream that has lost a key it is made here
  local exists = redis.call('EXISTS', stream) == 1
  if held then return exists and held or 'lost!' .. held end
  local info = exists and redis.call('XINFO', 'STREAM', stream) or {}
  for i = 1, #info, 2 do
    if info[i] == 'last-generated-id' then return 'last!' .. info[i + 1] end
  end
  return ''
end
local function state() -- its keys, as the reply that `append_calls.py` describes
  redis.call('XTRIM', stream, 'MINID', '0-1') -- nothing; refused where no writes are taken
  local exists = redis.call('EXISTS', stream)
  local info = exists == 1 and not held and redis.call('XINFO', 'STREAM', stream) or {}
  return {exists, redis.call('HGETALL', facts), info}
end
local function try(...)
  local reply = not refusal and redis.pcall(...)
  if type(reply) == 'table' and reply.err then refusal = reply end
  return reply
end
if #ARGV == 0 or held ~= expected and revision() ~= expected then return state() end
local begins = held ~= expected and string.sub(expected, 1, 5) ~= 'last!' -- no entries are there
local fields = tonumber(ARGV[10])
redis.call('HSET', facts, 'revision', ARGV[3])
local exists = try('PEXPIRE', stream, ARGV[1])
try('PEXPIRE', facts, ARGV[1])
if fields > 0 then try('HDEL', facts, '') end
if ARGV[7] ~= '' or #ARGV == 10 + fields then try('XTRIM', stream, 'MINID', '0-1') end
local is_gone = exists == 0 and not begins
local generation, position, add, marks = ARGV[8], tonumber(ARGV[9]), try, {}
if begins and #ARGV == 10 + fields then -- a head alone: all entries before it are removed
  local last = position > 0 and generation .. '-' .. string.format('%.0f', position - 1) or '0-1'
  try('XADD', stream, 'MAXLEN', 0, last, 'type', '')
end
for i = 11 + fields, is_gone and 0 or #ARGV, 4 do
  local kind, at = ARGV[i], '-' .. string.format('%.0f', position)
  if kind == 'audio' then
    add('XADD', stream, generation .. at, 'type', 'audio', 'seq', ARGV[i + 1],
        'received_at_ms', ARGV[i + 2], 'audio', ARGV[i + 3])
  else
    generation = ARGV[i + 1]
    add('XADD', stream, generation .. at, 'type', kind, 'data', ARGV[i + 3])
    if ARGV[i + 2] ~= '' then marks[#marks + 1] = 'announce:' .. generation .. at end
    if ARGV[i + 2] ~= '' then marks[#marks + 1] = ARGV[i + 2] end
  end
  if refusal then break end
  add, position = redis.call, position + 1
end
if refusal or is_gone then
  if held then redis.call('HSET', facts, 'revision', held)
  elseif redis.pcall('HDEL', facts, 'revision') ~= 1 then redis.call('PEXPIRE', facts, 0) end
  return refusal or state()
end
if begins then redis.call('PEXPIRE', stream, ARGV[1]) end
if fields > 0 then
  redis.call('HDEL', facts, 'first_seq', 'last_seq')
  redis.call('HSET', facts, unpack(ARGV, 11, 10 + fields))
end
if #marks > 0 then redis.call('HSET', facts, unpack(marks)) end
local last_seq = ARGV[6] ~= '' and {'last_seq', ARGV[6]} or {}
redis.call('HSET', facts, 'next', ARGV[4], 'ledger', ARGV[5], unpack(last_seq))
if ARGV[7] ~= '' then redis.call('XTRIM', stream, 'MINID', ARGV[7]) end
return 1
