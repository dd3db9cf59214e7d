/** What a group keeps at the broker is changed by these scripts alone; README.md has the keys. */

import { createHash } from "node:crypto";

const NOW = `
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
`;

/** Refuses an owner with an older epoch, and restores what a broker that was rolled back lacks. */
const FENCE = `
local held = redis.call('HMGET', KEYS[2], 'owner', 'epoch')
local theirs, mine = tonumber(held[2] or 0), tonumber(ARGV[3])
`;
const LOST = `
if theirs > mine or theirs == mine and held[1] ~= ARGV[2] then return 0 end
`;

/** ARGV: stream, owner, lease ms, TTL ms, run announced ('' takes over what ran out). */
export const CLAIM = script(`${NOW}
local held = redis.call('HMGET', KEYS[2], 'owner', 'done')
local ends = redis.call('ZSCORE', KEYS[1], ARGV[1])
if held[1] and held[1] ~= ARGV[2] and ends and tonumber(ends) > now then return {'held', held[1]} end
if ARGV[5] == '' and not ends then return {'gone'} end
if ARGV[5] ~= '' and held[2] == ARGV[5] then return {'done'} end
local epoch = redis.call('HINCRBY', KEYS[2], 'epoch', 1)
redis.call('HSET', KEYS[2], 'owner', ARGV[2])
redis.call('ZADD', KEYS[1], string.format('%.0f', now + ARGV[3]), ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[4])
redis.call('PEXPIRE', KEYS[2], ARGV[4])
return {'claimed', epoch, redis.call('HGET', KEYS[2], 'progress') or ''}`);

/** ARGV: stream, owner, epoch, lease ms, TTL ms, progress. Returns 0 where the call is lost. */
export const KEEP = script(`${FENCE}${LOST}${NOW}
redis.call('HSET', KEYS[2], 'owner', ARGV[2], 'epoch', ARGV[3], 'progress', ARGV[6])
redis.call('ZADD', KEYS[1], string.format('%.0f', now + ARGV[4]), ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[5])
redis.call('PEXPIRE', KEYS[2], ARGV[5])
return 1`);

/** ARGV: stream, owner, epoch, TTL ms, progress, run that is done ('' hands over, '-' is none). */
export const LEAVE = script(`${FENCE}
if theirs == mine and not held[1] then return 1 end
${LOST}
redis.call('HSET', KEYS[2], 'epoch', ARGV[3], 'progress', ARGV[5])
redis.call('HDEL', KEYS[2], 'owner')
if ARGV[6] ~= '' then
  redis.call('HSET', KEYS[2], 'done', ARGV[6])
  redis.call('ZREM', KEYS[1], ARGV[1])
else
  redis.call('ZADD', KEYS[1], 0, ARGV[1])
end
redis.call('PEXPIRE', KEYS[1], ARGV[4])
redis.call('PEXPIRE', KEYS[2], ARGV[4])
return 1`);

/** ARGV: how many. Returns streams whose lease ran out. */
export const EXPIRED = script(`${NOW}
return redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now), 'LIMIT', 0, ARGV[1])`);

/**
 * @typedef {{ text: string, sha: string }} Script
 * @param {string} text
 * @returns {Script}
 */
function script(text) {
  return { text, sha: createHash("sha1").update(text).digest("hex") };
}
