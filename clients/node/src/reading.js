/** Reads the streams of all calls that this worker owns, over one connection. */

import { isRefusal } from "./link.js";
import { startedBy } from "./tape.js";

/**
 * @typedef {import("./call.js").Call} Call
 * @typedef {import("./leases.js").Leases} Leases
 * @typedef {import("./link.js").Link} Link
 * @typedef {import("../index.d.ts").Media} Media
 */

const MAX_ENTRIES = 32;
/** A page that is checked has one entry which was read before, and may be after many. */
const MAX_CHECKED = 100;
/** How long a new call waits at most for the first look at it. */
const BLOCK_MS = 50;
/** Lets entries of many calls come together; a command for each would cost the broker more. */
const GATHER_MS = 5;
/** From look to look, where a command for each call does not wait at its server. */
const POLL_MS = 20;
const GONE_MS = 60_000;
const WRONG_TYPE = "WRONGTYPE";

/**
 * Give each call what is new of it, and return how long to wait before the next time.
 * @param {Leases} leases
 * @param {Link} link
 */
export async function readOnce(leases, link) {
  const { number } = link;
  const wanting = [...leases.calls.values()].filter((call) => call.wantsMore);
  await Promise.all(wanting.map((call) => check(leases, link, call).catch((error) => spare(leases, call, error))));
  const ready = wanting.filter((it) => it.wantsMore && it.tape.isChecked);
  if (!ready.length || link.number !== number) return GATHER_MS;
  const ids = ready.map(startOf);
  const found = await read(link, ready).catch((error) => {
    if (!isRefusal(error, WRONG_TYPE)) throw error;
    for (const { tape } of ready) tape.isChecked = false; // of one of them: each is asked alone
    return [];
  });
  const pages = new Map(found.map(([key, page]) => [`${key}`, page]));
  for (const [at, call] of ready.entries()) {
    const page = pages.get(call.key) ?? [];
    const isAsked = call.tape.isChecked && startOf(call) === ids[at];
    if (isAsked) call.add(page, page.length < MAX_ENTRIES);
  }
  if (link.isCluster) return POLL_MS;
  return found.length ? GATHER_MS : 0;
}

/**
 * Wait a moment for what is after `start`; in a cluster ask each server, and do not wait.
 * @param {Link} link
 * @param {Call[]} calls
 * @returns {Promise<[key: Buffer, page: any][]>}
 */
async function read(link, calls) {
  const groups = link.isCluster ? calls.map((it) => [it]) : [calls];
  const options = ["COUNT", MAX_ENTRIES, ...(link.isCluster ? [] : ["BLOCK", BLOCK_MS]), "STREAMS"];
  const asked = groups.map((of) => link.send("XREAD", ...options, ...of.map((it) => it.key), ...of.map(startOf)));
  return (await Promise.all(asked)).flatMap((found) => found ?? []);
}

/** @param {Call} call */
function startOf({ tape }) {
  return tape.start || "0-0";
}

/**
 * What is read next was started with this, or if that is trimmed, the stream was with this last.
 * @param {Leases} leases
 * @param {Link} link
 * @param {Call} call
 * @returns {Promise<Media | undefined>}
 */
async function started(leases, link, { key, stream, tape }) {
  const [generation] = tape.start.split("-");
  const page = await link.send("XRANGE", key, generation || "-", "+", "COUNT", 1);
  return startedBy(page[0]) ?? leases.started(stream);
}

/**
 * After each connection, and from time to time: a broker that was rolled back or emptied may have
 * other entries under the ids that were read.
 * @param {Leases} leases
 * @param {Link} link
 * @param {Call} call
 */
async function check(leases, link, call) {
  const { number } = link, now = performance.now(), { tape } = call;
  const isDue = now - call.checkedAt > leases.options.lease / 3;
  if (isDue || call.checkedOn !== number) tape.isChecked = false;
  if (tape.isChecked) return;
  const { start } = tape;
  const page = await link.send("XRANGE", call.key, start || "-", "+", "COUNT", MAX_CHECKED);
  if (tape.start !== start) return;
  if (!tape.media) call.know(await started(leases, link, call));
  call.add(page, page.length < MAX_CHECKED);
  if (tape.isChecked) [call.checkedAt, call.checkedOn] = [now, number];
  if (page.length || start) call.absentSince = undefined;
  else await miss(leases, call);
}

/**
 * Where a key of one stream has another type, the calls of other streams are read on.
 * @param {Leases} leases
 * @param {Call} call
 * @param {Error} error
 */
async function spare(leases, call, error) {
  if (!isRefusal(error, WRONG_TYPE)) throw error;
  call.tape.isChecked = false;
  if (!call.absentSince) leases.report(new Error(`${call.stream}: ${error.message}`));
  await miss(leases, call);
}

/**
 * @param {Leases} leases
 * @param {Call} call
 */
async function miss(leases, call) {
  const now = performance.now();
  call.absentSince ??= now;
  if (now - call.absentSince > GONE_MS) await leases.leave(call, "gone");
}
