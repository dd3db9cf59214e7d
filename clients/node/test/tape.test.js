// What is new of a stream, and what comes a second time.
import assert from "node:assert/strict";
import { test } from "node:test";
import { dumps, hasRead, isEarlier, loads, NOTHING } from "../src/position.js";
import { Tape } from "../src/tape.js";

/** @typedef {import("../src/tape.js").Entry} Entry */

/**
 * @param {string} id
 * @param {string} type
 * @param {any} [body]
 * @returns {Entry}
 */
function entry(id, type, body) {
  const audio = ["seq", `${body}`, "received_at_ms", "1", "audio", `${id}!`];
  const fields = type === "audio" ? audio : ["data", JSON.stringify(body ?? {})];
  return [Buffer.from(id), ["type", type, ...fields].map((it) => Buffer.from(it))];
}

const started = (/** @type {string} */ id, run = "a", resumed = false) =>
  entry(id, "started", { run, resumed, sample_rate: 8000, channels: 1, encoding: "pcm16" });
const audio = (/** @type {string} */ id, /** @type {number} */ seq) => entry(id, "audio", seq);
const gap = (/** @type {number} */ first, /** @type {number} */ missing) => ({ first_missing: first, missing });

/**
 * Read a page, from the place that the tape asks for: once more from there until it is satisfied.
 * @param {Tape} tape
 * @param {Entry[]} stored
 */
function read(tape, ...stored) {
  for (;;) {
    const at = stored.findIndex(([id]) => `${id}` === tape.start);
    const from = tape.start === "" ? 0 : Math.max(at, 0) + (tape.isChecked ? 1 : 0);
    const news = tape.read(stored.slice(from));
    if (tape.isChecked) return news.map(({ type, seq }) => `${type} ${seq}`);
  }
}

const CALL = [started("1-0"), audio("1-1", 0), entry("1-2", "dtmf", { digit: "5" }), audio("1-3", 1)];

function aCall() {
  const tape = new Tape(NOTHING);
  assert.deepEqual(read(tape, ...CALL), ["started -1", "audio 0", "dtmf 0", "audio 1"]);
  return tape;
}

/** @param {Tape} tape */
function afterFailure(tape) {
  tape.isChecked = false;
  return tape;
}

test("a wiped stream gives what was not read, and its gap only where frames are absent", () => {
  const wiped = [started("2-0", "a", true), entry("2-1", "gap", gap(0, 1)), audio("2-2", 1),
    entry("2-3", "dtmf", { digit: "6" }), audio("2-4", 2)];
  assert.deepEqual(read(afterFailure(aCall()), ...wiped), ["started 1", "dtmf 1", "audio 2"]);
});

test("a gap that was partly read is declared for the rest", () => {
  const tape = afterFailure(aCall());
  tape.read([]);
  const [, news] = tape.read([started("2-0", "a", true), entry("2-1", "gap", gap(0, 5))]);
  assert.deepEqual(news?.data, { first_missing: 2, missing: 3, declared: true });
  assert.equal(news?.seq, 4);
});

test("a broker that was rolled back is read on from the entry that it still has", () => {
  const younger = [...CALL.slice(0, 3), started("2-3", "a", true), audio("2-4", 1), audio("2-5", 2)];
  assert.deepEqual(read(afterFailure(aCall()), ...younger), ["started 1", "audio 2"]);
});

test("a run that ended and one that followed it are not read a second time", () => {
  const tape = aCall();
  const more = [entry("1-4", "ended"), started("2-5", "b"), audio("2-6", 0)];
  assert.deepEqual(read(tape, ...CALL, ...more), ["ended 1", "started -1", "audio 0"]);
  const wiped = [started("3-0"), audio("3-1", 1), entry("3-2", "ended"), started("4-3", "b"),
    audio("4-4", 0), audio("4-5", 1), entry("4-6", "ended")];
  assert.deepEqual(read(afterFailure(tape), ...wiped), ["started 0", "audio 1", "ended 1"]);
  assert.ok(hasRead(tape.position, "a"));
  assert.ok(hasRead(tape.position, "b"));
});

test("another stream under the same ids is read from its start", () => {
  const other = [started("1-0", "b"), audio("1-1", 0), audio("1-2", 1), audio("1-3", 2), audio("1-4", 3)];
  const all = ["started -1", "audio 0", "audio 1", "audio 2", "audio 3"];
  assert.deepEqual(read(afterFailure(aCall()), ...other), all);
});

test("frames that were trimmed are told", () => {
  const tape = aCall();
  const [missed, frame] = tape.read([audio("1-9", 7)]);
  assert.deepEqual(missed?.data, { first_missing: 2, missing: 5, declared: false });
  assert.deepEqual([frame?.type, frame?.seq], ["audio", 7]);
});

test("a stream whose start was trimmed has the run that its notice names", () => {
  const tape = new Tape(NOTHING);
  tape.runs.set(1, "a");
  const [frame] = tape.read([audio("1-500", 40)]);
  assert.deepEqual([frame?.run, frame?.seq], ["a", 40]);
});

test("another owner continues after what is committed", () => {
  const text = dumps(aCall().position);
  assert.match(text, /^\["1-3",\d+,\[\["a",1,1,0,false\]\]\]$/);
  const more = [audio("1-4", 2), started("2-5", "a", true)];
  assert.deepEqual(read(new Tape(loads(text)), ...CALL, ...more), ["audio 2", "started 2"]);
});

test("a run before all that are remembered is read, unless generations start at 1 once more", () => {
  const starts = Array.from({ length: 10 }, (_, at) => started(`${at + 10}-${at}`, `r${at + 10}`));
  const tape = new Tape(NOTHING);
  tape.read(starts);
  assert.deepEqual(tape.position.runs.map((it) => it.generation), [12, 13, 14, 15, 16, 17, 18, 19]);
  assert.ok(isEarlier(tape.position, 11, 19));
  assert.ok(!isEarlier(tape.position, 20, 20));
  assert.ok(!isEarlier(tape.position, 1, 2));
});
