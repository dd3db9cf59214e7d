// What is news of a stream, and what comes a second time.
import assert from "node:assert/strict";
import { test } from "node:test";
import { before, NOTHING, Track } from "../src/track.js";

/** @typedef {import("../src/track.js").Entry} Entry */

/**
 * @param {string} id
 * @param {string} type
 * @param {any} [body]
 * @returns {Entry}
 */
function entry(id, type, body) {
  if (type === "audio") return { id, type, seq: body, receivedAtMs: 0, body: Buffer.from([body, 0]) };
  return { id, type, seq: -1, receivedAtMs: 0, body: Buffer.from(JSON.stringify(body ?? {})) };
}

const started = (/** @type {string} */ id, run = "a", resumed = false) =>
  entry(id, "started", { run, resumed });

/**
 * @param {Track} track
 * @param {Entry[]} entries
 */
function read(track, ...entries) {
  return entries.flatMap((it) => track.take(it)).map(({ type, seq }) => `${type} ${seq}`);
}

function aCall() {
  const track = new Track(NOTHING);
  const heard = read(track, started("1-0"), entry("1-1", "audio", 0), entry("1-2", "dtmf", { digit: "5" }),
    entry("1-3", "audio", 1));
  assert.deepEqual(heard, ["started -1", "audio 0", "dtmf 0", "audio 1"]);
  return track;
}

test("a wiped stream gives what was not read, and its gap only where frames are absent", () => {
  const track = aCall();
  assert.deepEqual(
    read(track, started("2-0", "a", true), entry("2-1", "gap", { first_missing: 0, missing: 1 }),
      entry("2-2", "dtmf", { digit: "5" }), entry("2-3", "audio", 1), entry("2-4", "dtmf", { digit: "6" }),
      entry("2-5", "audio", 2), entry("2-6", "dtmf", { digit: "6" })),
    ["started 1", "dtmf 1", "audio 2", "dtmf 2"],
  );
});

test("a gap that was partly read is declared for the rest", () => {
  const track = aCall();
  track.take(started("2-0", "a", true));
  const [gap] = track.take(entry("2-1", "gap", { first_missing: 0, missing: 5 }));
  assert.deepEqual(gap?.data, { first_missing: 2, missing: 3 });
  assert.equal(gap?.seq, 4);
});

test("a run that ended and one that followed it are not read a second time", () => {
  const track = aCall();
  read(track, entry("1-4", "ended"), started("2-5", "b"), entry("2-6", "audio", 0));
  assert.deepEqual(
    read(track, started("3-0"), entry("3-1", "audio", 1), entry("3-2", "ended"), started("4-3", "b"),
      entry("4-4", "audio", 0), entry("4-5", "audio", 1), entry("4-6", "ended")),
    ["started 0", "audio 1", "ended 1"],
  );
});

test("an end that is written once more is given once", () => {
  const track = aCall();
  assert.deepEqual(read(track, entry("1-4", "ended")), ["ended 1"]);
  assert.deepEqual(read(track, started("2-0", "a", true), entry("2-1", "ended")), ["started 1"]);
});

test("another stream under the same ids is recognised, and read from its start", () => {
  const track = aCall();
  assert.equal(track.isOfSameStream(1, "b"), false);
  assert.equal(track.isOfSameStream(1, "a"), true);
  assert.equal(track.isOfSameStream(2, "a"), true);
  track.rewind();
  assert.equal(track.cursor, "0-0");
  assert.deepEqual(read(track, started("1-0", "b"), entry("1-1", "audio", 0)), ["started -1", "audio 0"]);
});

test("a run whose beginning was missed is read from the start of the stream, once", () => {
  const track = aCall();
  assert.deepEqual(read(track, started("5-9", "c", true)), []);
  assert.equal(track.cursor, "0-0");
  assert.deepEqual(read(track, started("5-9", "c", true)), ["started -1"]);
});

test("frames that were trimmed are declared", () => {
  const track = aCall();
  const [gap, audio] = track.take(entry("1-9", "audio", 7));
  assert.deepEqual(gap?.data, { first_missing: 2, missing: 5, trimmed: true });
  assert.equal(audio?.progress.bytes, 6);
});

test("a stream whose start was trimmed begins with what its head says", () => {
  const track = new Track(NOTHING, /** @type {any} */ ({ run: "a", resumed: false, sample_rate: 8000 }));
  const [start, audio] = track.take(entry("1-500", "audio", 40));
  assert.deepEqual([start?.type, start?.data.resumed, audio?.seq], ["started", true, 40]);
});

test("another owner continues behind what is committed", () => {
  const track = new Track(JSON.parse(JSON.stringify(aCall().progress)));
  assert.equal(track.cursor, "1-3");
  assert.deepEqual(read(track, entry("1-4", "audio", 2), started("2-5", "a", true)), ["audio 2", "started 2"]);
});

test("a cursor in front of an entry is behind the one before", () => {
  assert.equal(before("3-40"), "3-39");
  assert.equal(before("3-0"), "2-18446744073709551615");
});
