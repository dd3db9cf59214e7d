/** One call that this worker owns: what is read of it, given to the program, and committed. */

import { setTimeout as sleep } from "node:timers/promises";
import { parts } from "./track.js";

/**
 * @typedef {import("../index.d.ts").Call} Api
 * @typedef {import("../index.d.ts").CallState} CallState
 * @typedef {import("../index.d.ts").Event} Event
 * @typedef {import("../index.d.ts").Progress} Progress
 * @typedef {import("./leases.js").Leases} Leases
 * @typedef {import("./track.js").Entry} Entry
 * @typedef {import("./track.js").News} News
 * @typedef {import("./track.js").Track} Track
 *
 * @typedef {{ count: number, progress: Progress }} Mark so many events, and the progress behind them
 */

/** A call with so many events waiting is not read on. */
const MAX_WAITING = 64;
const COMMIT_LIMIT_MS = 60_000;
const COMMIT_RETRY_MS = 50;

/** @implements {Api} */
export class Call {
  /** @type {CallState} */
  state = "open";
  /** The connection on which the stream was found to be the one that was read; 0: none. */
  verifiedOn = 0;
  verifiedAt = 0;
  /** What it was said to be left as, before the answer. @type {string | undefined} */
  leavingAs;
  /** Since when the broker has nothing of the stream. @type {number | undefined} */
  absentSince;
  /** Told when an event can be taken, or none will come any more. */
  onChange = () => {};
  /** @type {Promise<void> | undefined} */
  #keeping;
  /** @type {News[]} */
  #waiting = [];
  /** @type {Mark} */
  #given;
  /** @type {Mark} */
  #handled;
  /** @type {Mark | undefined} */
  #kept;
  #keptAt;
  #leases;
  #spareBytes = 0;

  /**
   * @param {Leases} leases
   * @param {{ key: string, stream: string, epoch: number, claimedAt: number }} claim
   * @param {Track} track
   */
  constructor(leases, { key, stream, epoch, claimedAt }, track) {
    this.#leases = leases;
    this.key = key;
    this.stream = stream;
    this.epoch = epoch;
    this.track = track;
    this.#given = this.#handled = { count: 0, progress: track.progress };
    this.#keptAt = claimedAt;
  }

  get media() {
    return this.track.media;
  }

  get progress() {
    return (this.#kept ?? this.#handled).progress;
  }

  // Reading

  get wantsMore() {
    return this.state === "open" && this.#waiting.length < MAX_WAITING;
  }

  /** @param {Entry[]} entries in order, behind the cursor */
  add(entries) {
    for (const entry of entries) {
      const { cursor } = this.track;
      this.#waiting.push(...this.track.take(entry));
      if (isBehind(cursor, this.track.cursor)) break; // it is read from its start once more
    }
    this.onChange();
  }

  // Giving

  get hasNext() {
    return this.#waiting.length > 0 && this.state === "open" && this.#isHeld;
  }

  /** Whether all events were handled, and the last of them is the end of a run. */
  get isOver() {
    const { progress } = this.#handled;
    return progress.ended && progress === this.track.progress && this.#waiting.length === 0;
  }

  /** @returns {Event | undefined} */
  next() {
    const news = this.hasNext ? this.#waiting.shift() : undefined;
    if (!news) return undefined;
    const { progress, ...event } = news;
    this.#given = { count: this.#given.count + 1, progress };
    return /** @type {Event} */ ({ ...event, call: this });
  }

  /** What was given is handled. */
  handle() {
    this.#handled = this.#given;
  }

  /** @returns {AsyncGenerator<Event, void>} */
  async *[Symbol.asyncIterator]() {
    const { autoCommit } = this.#leases.options;
    while (this.state === "open") {
      const event = this.next();
      if (event) {
        yield event;
        if (autoCommit) this.handle();
        continue;
      }
      await new Promise((resolve) => {
        this.onChange = () => resolve(undefined);
        if (this.hasNext || this.state !== "open") resolve(undefined);
      });
    }
  }

  // Committing

  /** Whether there is something to commit. */
  get isDirty() {
    return this.#kept?.count !== this.#handled.count;
  }

  get keptAt() {
    return this.#keptAt;
  }

  get #isHeld() {
    return performance.now() - this.#keptAt < this.#leases.options.lease;
  }

  /** Renew the lease and commit what is handled; one at a time. Throws where the broker is away. */
  async keep() {
    this.#keeping ??= this.#keep().finally(() => (this.#keeping = undefined));
    return this.#keeping;
  }

  async #keep() {
    const mark = this.#handled, at = performance.now();
    if (await this.#leases.keep(this, mark.progress)) {
      this.#kept = mark;
      this.#keptAt = at;
      this.onChange();
    } else if (this.state === "open") {
      this.close("lost");
    }
  }

  async commit() {
    this.handle();
    const { count } = this.#handled, limit = performance.now() + COMMIT_LIMIT_MS;
    const isCommitted = () => (this.#kept?.count ?? -1) >= count;
    while (!isCommitted() && this.state === "open") {
      try {
        await this.keep();
      } catch (error) {
        if (performance.now() > limit) throw error;
        await sleep(COMMIT_RETRY_MS);
      }
    }
    return isCommitted();
  }

  /** @returns {Progress} */
  get handled() {
    return this.#handled.progress;
  }

  /** @param {CallState} state */
  close(state) {
    if (state === "finished") this.#kept = this.#handled;
    this.state = state;
    this.#waiting = [];
    this.onChange();
  }

  // Lag

  async lag() {
    const head = this.state === "open" ? await this.#leases.head(this.stream) : undefined;
    const { id, run, bytes } = this.#handled.progress;
    if (!head) return 0;
    const [generation, position] = parts(id);
    const { sample_rate: rate, channels, encoding } = head.media;
    const bytesPerMs = (rate * channels * (encoding === "mulaw" ? 1 : 2)) / 1_000;
    if (generation === head.generation && position + 1 === head.next) {
      this.#spareBytes = head.ledger.bytes - bytes; // what the broker counts of it otherwise
      return 0;
    }
    const isSameRun = run === head.media.run;
    const read = isSameRun ? bytes + this.#spareBytes : 0;
    return Math.max(0, Math.round((head.ledger.bytes - read) / bytesPerMs));
  }
}

/**
 * @param {string} cursor
 * @param {string} moved
 */
function isBehind(cursor, moved) {
  const [a, b] = [parts(cursor), parts(moved)];
  return a[0] > b[0] || (a[0] === b[0] && a[1] > b[1]);
}
