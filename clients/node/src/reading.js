/** Reads the streams of all calls that this worker owns, over one connection. */

import { NO_RUN } from "./leases.js";

/**
 * @typedef {import("./call.js").Call} Call
 * @typedef {import("./leases.js").Leases} Leases
 * @typedef {import("./link.js").Link} Link
 * @typedef {import("./track.js").Entry} Entry
 */

const MAX_ENTRIES = 32;
/** How long a new call waits at most for the first look at it. */
const BLOCK_MS = 50;
/** Lets entries of many calls come together; a command for each would cost the broker more. */
const GATHER_MS = 5;
const VERIFY_EVERY_MS = 200;
const SILENT_MS = 30_000;
const GONE_MS = 60_000;

/**
 * Give each call what is new of it, and return how long to wait before the next time.
 * @param {Leases} leases
 * @param {Link} link
 */
export async function readOnce(leases, link) {
  const { number } = link;
  const wanting = [...leases.calls.values()].filter((call) => call.wantsMore);
  await Promise.all(wanting.map((call) => verify(leases, link, call)));
  const ready = wanting.filter((it) => it.wantsMore && it.verifiedOn === number);
  if (!ready.length || link.number !== number) return BLOCK_MS;
  const keys = ready.map((call) => call.key), cursors = ready.map((call) => call.track.cursor);
  const words = ["COUNT", MAX_ENTRIES, "BLOCK", BLOCK_MS, "STREAMS", ...keys, ...cursors];
  const found = await link.send("XREAD", ...words);
  const byKey = new Map(ready.map((call) => [call.key, call]));
  for (const [key, entries] of found ?? []) {
    const call = byKey.get(`${key}`);
    call?.add(entries.map(entryOf));
    if (call) call.verifiedAt = performance.now();
  }
  return found ? GATHER_MS : 0;
}

/**
 * After each connection, and after a silence: a broker that came back empty may have another stream
 * under the key by now, with the same ids.
 * @param {Leases} leases
 * @param {Link} link
 * @param {Call} call
 */
async function verify(leases, link, call) {
  const { number } = link, now = performance.now();
  const isVerified = call.verifiedOn === number && now - call.verifiedAt < SILENT_MS;
  if (isVerified || (call.absentSince && now - call.verifiedAt < VERIFY_EVERY_MS)) return;
  const head = await leases.head(call.stream, link);
  call.verifiedAt = now;
  if (!head) {
    call.verifiedOn = 0;
    call.absentSince ??= now;
    if (now - call.absentSince > GONE_MS) {
      await leases.leave(call, NO_RUN);
      call.close("gone");
    }
    return;
  }
  call.absentSince = undefined;
  call.verifiedOn = number;
  call.track.media ??= head.media;
  if (!call.track.isOfSameStream(head.generation, head.media.run)) call.track.rewind();
}

/**
 * @param {[Buffer, Buffer[]]} found
 * @returns {Entry}
 */
function entryOf([id, words]) {
  let type = "", seq = -1, receivedAtMs = 0;
  /** @type {Buffer} */
  let body = Buffer.alloc(0);
  for (let at = 0; at + 1 < words.length; at += 2) {
    const value = /** @type {Buffer} */ (words[at + 1]);
    const field = `${words[at]}`;
    if (field === "type") type = `${value}`;
    else if (field === "seq") seq = +value;
    else if (field === "received_at_ms") receivedAtMs = +value;
    else if (field === "audio" || field === "data") body = value;
  }
  return { id: `${id}`, type, seq, receivedAtMs, body };
}

