/** Which calls this worker owns, as the group's records at the broker have it. */

import { performance } from "node:perf_hooks";
import { Call } from "./call.js";
import { CLAIM, EXPIRED, KEEP, LEAVE } from "./scripts.js";
import { NOTHING, Track } from "./track.js";

/**
 * @typedef {import("../index.d.ts").Progress} Progress
 * @typedef {import("../index.d.ts").Media} Media
 * @typedef {import("./link.js").Link} Link
 *
 * @typedef {object} Options
 * @property {string} prefix
 * @property {string} group
 * @property {string} worker
 * @property {string} owner
 * @property {number} lease
 * @property {number} settle
 * @property {number} maxCalls
 * @property {boolean} autoCommit
 *
 * @typedef {{ generation: number, next: number, media: Media, ledger: Record<string, number> & { bytes: number } }} Head
 */

const TTL_MS = 3_600_000;
export const COMMIT_EVERY_MS = 200;
/** For so long a call that was left is said to be left once more to a broker that comes back. */
const REMEMBER_MS = 60_000;
const MAX_TAKEN_OVER = 8;

/** Of a call, done with, of which no run was read to its end. */
export const NO_RUN = "-";

/** The broker has come back, and the owners of its calls may not have: it is tried again. */
export class NotSettled extends Error {}

export class Leases {
  /** By stream. @type {Map<string, Call>} */
  calls = new Map();
  /** @type {Map<string, { epoch: number, progress: Progress, run: string, at: number }>} */
  #left = new Map();
  /** @type {Map<string, Promise<unknown>>} */
  #claiming = new Map();
  /** Left, and not yet seen to have nothing behind their end. @type {Set<string>} */
  #again = new Set();
  #restoredOn = 0;
  #link;

  /**
   * @param {Link} link
   * @param {Options} options
   * @param {(call: Call) => void} onCall
   */
  constructor(link, options, onCall) {
    this.#link = link;
    this.options = options;
    this.onCall = onCall;
  }

  /** Whether calls may be claimed: their owners have had time to return after the broker did. */
  get isSettled() {
    const { isReady, number, since } = this.#link;
    const isRestored = isReady && this.#restoredOn === number;
    return isRestored && performance.now() - since >= this.options.settle;
  }

  get hasRoom() {
    return this.calls.size + this.#claiming.size < this.options.maxCalls;
  }

  /** @param {string} stream */
  keys(stream) {
    const { prefix, group } = this.options;
    return [`${prefix}:reader:{${group}}`, `${prefix}:reader:{${group}}:${stream}`];
  }

  /**
   * Own a call, if no other worker does. Throws where it was not learned who owns it.
   * @param {string} stream
   * @param {string} run that was announced, '' to take over a call whose lease ran out
   * @param {string} cursor behind which to read if the group has not read it yet
   */
  async claim(stream, run, cursor = NOTHING.id) {
    await this.#claiming.get(stream)?.catch(() => {});
    if (!this.isSettled) throw new NotSettled();
    if (this.calls.has(stream)) return;
    const claimed = this.#claim(stream, run, cursor);
    this.#claiming.set(stream, claimed);
    await claimed.finally(() => this.#claiming.delete(stream));
  }

  /**
   * @param {string} stream
   * @param {string} run
   * @param {string} cursor
   */
  async #claim(stream, run, cursor) {
    const { owner, lease, prefix } = this.options;
    const claimedAt = performance.now();
    const values = [stream, owner, lease, TTL_MS, run];
    const [outcome, epoch, kept] = await this.#link.run(CLAIM, this.keys(stream), values);
    if (`${outcome}` !== "claimed") return;
    /** @type {Progress} */
    const progress = kept.length ? JSON.parse(`${kept}`) : { ...NOTHING, id: cursor };
    const key = `${prefix}:audio:{${stream}}`;
    const call = new Call(this, { key, stream, epoch, claimedAt }, new Track(progress));
    this.calls.set(stream, call);
    this.#left.delete(stream);
    this.onCall(call);
  }

  /**
   * @param {Call} call
   * @param {Progress} progress
   * @returns {Promise<boolean>} false: another worker owns it
   */
  async keep(call, progress) {
    const { stream, epoch, leavingAs } = call, { owner, lease } = this.options;
    if (leavingAs !== undefined) return await this.#leave(stream, epoch, progress, leavingAs);
    const values = [stream, owner, epoch, lease, TTL_MS, JSON.stringify(progress)];
    const isKept = (await this.#link.run(KEEP, this.keys(stream), values)) === 1;
    if (!isKept && this.calls.get(stream)?.epoch === epoch) this.calls.delete(stream);
    return isKept;
  }

  /**
   * Give a call up, with what is handled of it.
   * @param {Call} call
   * @param {string} run that is done, '' for another worker to continue it
   */
  async leave(call, run) {
    const { stream, epoch, handled: progress } = call;
    call.leavingAs = run; // also if the answer is lost
    const isLeft = await this.#leave(stream, epoch, progress, run);
    if (this.calls.get(stream) === call) this.calls.delete(stream);
    if (isLeft && run) this.#left.set(stream, { epoch, progress, run, at: performance.now() });
    return isLeft;
  }

  /**
   * @param {string} stream
   * @param {number} epoch
   * @param {Progress} progress
   * @param {string} run
   */
  async #leave(stream, epoch, progress, run) {
    const { owner } = this.options;
    const values = [stream, owner, epoch, TTL_MS, JSON.stringify(progress), run];
    return (await this.#link.run(LEAVE, this.keys(stream), values)) === 1;
  }

  /** Tell a broker that has come back, perhaps younger or empty, what this worker has. */
  async restore() {
    const { number } = this.#link;
    const left = [...this.#left].map(([stream, { epoch, progress, run }]) =>
      this.#leave(stream, epoch, progress, run),
    );
    await Promise.all([...[...this.calls.values()].map((call) => call.keep()), ...left]);
    if (number === this.#link.number) this.#restoredOn = number;
  }

  /** Renew leases, commit, and leave the calls that are over. */
  async work() {
    if (this.#restoredOn !== this.#link.number) await this.restore();
    const now = performance.now(), renewAt = now - this.options.lease / 3;
    const due = [...this.calls.values()].filter((it) => it.isDirty || it.keptAt < renewAt);
    await Promise.all(due.map((call) => call.keep()));
    const over = [...this.calls.values()].filter((it) => it.isOver && !it.isDirty && it.verifiedOn);
    await Promise.all(over.map((call) => this.#finish(call)));
    for (const [stream, { at }] of this.#left) {
      if (at < now - REMEMBER_MS) this.#left.delete(stream);
    }
  }

  /** @param {Call} call */
  async #finish(call) {
    const { stream, track } = call;
    if (call.leavingAs === undefined && (await this.#isMoreBehind(call))) return;
    const isLeft = await this.leave(call, track.progress.run);
    call.close(isLeft ? "finished" : "lost");
    // A run may have been announced meanwhile, to a worker that saw this one own the call.
    this.#again.add(stream);
    if (isLeft && (await this.#isMoreBehind(call))) await this.claim(stream, NO_RUN);
    this.#again.delete(stream);
  }

  /** @param {Call} call */
  async #isMoreBehind({ key, track }) {
    const more = await this.#link.send("XRANGE", key, `(${track.cursor}`, "+", "COUNT", 1);
    return more.length > 0;
  }

  /** Take over calls whose owners are gone. */
  async takeOver() {
    for (const stream of this.#again) {
      await this.claim(stream, NO_RUN);
      this.#again.delete(stream);
    }
    const [leases = ""] = this.keys("");
    const expired = await this.#link.run(EXPIRED, [leases], [MAX_TAKEN_OVER]);
    for (const stream of expired) {
      if (!this.isSettled || !this.hasRoom) return;
      await this.claim(`${stream}`, "");
    }
  }

  /**
   * What the service says of a stream; undefined: the broker has nothing of it.
   * @param {string} stream
   * @param {Link} link
   * @returns {Promise<Head | undefined>}
   */
  async head(stream, link = this.#link) {
    const key = `${this.options.prefix}:interaction:{${stream}}`;
    const words = ["HMGET", key, "generation", "next", "started", "ledger"];
    const [generation, next, started, ledger] = await link.send(...words);
    if (!generation || !started) return undefined;
    const media = JSON.parse(`${started}`);
    return { generation: +generation, next: +next, media, ledger: JSON.parse(`${ledger ?? '{"bytes":0}'}`) };
  }
}
