/** How far a stream was read, as it is kept at the broker: the next owner continues there. */

/**
 * @typedef {import("../index.d.ts").Position} Position
 * @typedef {import("../index.d.ts").Progress} Progress
 */

const MAX_RUNS = 8;

/** @type {Position} */
export const NOTHING = { entry: "", checksum: 0, runs: [] };

/**
 * How far a run was read; generation -1 if nothing of it was.
 * @param {Position} position
 * @param {string} run
 * @returns {Progress}
 */
export function progressOf({ runs }, run) {
  return runs.find((it) => it.run === run) ?? unread(run);
}

/**
 * @param {string} run
 * @returns {Progress}
 */
export function unread(run) {
  return { run, generation: -1, seq: -1, signals: 0, ended: false };
}

/**
 * The next position.
 * @param {Position} position
 * @param {string} entry
 * @param {number} checksum
 * @param {Progress} progress
 * @returns {Position}
 */
export function behind({ runs }, entry, checksum, progress) {
  const others = runs.filter((it) => it.run !== progress.run).slice(1 - MAX_RUNS);
  return { entry, checksum, runs: [...others, progress] };
}

/**
 * Whether a run is over, and was read to its end.
 * @param {Position} position
 * @param {string} run
 */
export function hasRead({ runs }, run) {
  return runs.some((it, at) => it.run === run && (it.ended || at < runs.length - 1));
}

/**
 * Whether a run is before all that are remembered. Not where a broker was emptied, and generations
 * start at 1 once more: there the stream's newest is less than those.
 * @param {Position} position
 * @param {number} generation of the run
 * @param {number} newest of the stream
 */
export function isEarlier({ runs }, generation, newest) {
  const known = runs.map((it) => it.generation);
  return known.length === MAX_RUNS && generation < Math.min(...known) && Math.max(...known) <= newest;
}

/** @param {Position} position */
export function dumps({ entry, checksum, runs }) {
  const rows = runs.map((it) => [it.run, it.generation, it.seq, it.signals, it.ended]);
  return JSON.stringify([entry, checksum, rows]);
}

/**
 * @param {string} text what `dumps` wrote, or nothing
 * @returns {Position}
 */
export function loads(text) {
  if (!text) return NOTHING;
  const [entry, checksum, rows] = JSON.parse(text);
  const runs = rows.map((/** @type {[string, number, number, number, boolean]} */ row) => {
    const [run, generation, seq, signals, ended] = row;
    return { run, generation, seq, signals, ended };
  });
  return { entry, checksum, runs };
}

/**
 * @param {string} id of an entry
 * @returns {[generation: number, position: number]}
 */
export function numbers(id) {
  const [generation, position] = id.split("-");
  return [Number(generation), Number(position)];
}
