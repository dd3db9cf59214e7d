/** One call that this worker owns: its read, delivered and committed events. */

import { setTimeout as sleep } from "node:timers/promises";
import { Tape } from "./tape.js";
import { behind, hasRead, numbers, progressOf } from "./position.js";

/**
 * @typedef {import("../index.d.ts").Call} Api
 * @typedef {import("../index.d.ts").CallState} CallState
 * @typedef {import("../index.d.ts").Event} Event
 * @typedef {import("../index.d.ts").Media} Media
 * @typedef {import("../index.d.ts").Position} Position
 * @typedef {import("./leases.js").Leases} Leases
 * @typedef {import("./tape.js").Entry} Entry
 * @typedef {import("./tape.js").News} News
 *
 * @typedef {{ count: number, position: Position }} Mark so many events, and the position after them
 */

/** The maximum of waiting events of a call, above which reading pauses. */
const MAX_WAITING = 64;
const COMMIT_LIMIT_MS = 60_000;
const COMMIT_RETRY_MS = 50;

/** @implements {Api} */
export class Call {
  /** @type {CallState} */
  state = "open";
  /** When, and on which connection, the stream was last found unchanged. */
  checkedAt = -Infinity;
  checkedOn = 0;
  /** Whether all that is published has been read. */
  isDrained = false;
  /** Its lease is being released; also if the answer was lost. */
  isLeaving = false;
  /** Since when the broker has nothing of the stream. @type {number | undefined} */
  absentSince;
  /** Called when an event is available, or when there will be none. */
  onChange = () => {};
  /** @type {Promise<void> | undefined} */
  #keeping;
  /** @type {News[]} */
  #waiting = [];
  /** @type {Media | undefined} */
  #media;
  /** @type {Mark} */
  #given;
  /** @type {Mark} */
  #handled;
  /** @type {Mark} */
  #kept;
  #keptAt;
  #leases;

  /**
   * @param {Leases} leases
   * @param {{ key: string, stream: string, owner: string, fence: number, at: number }} lease
   * @param {Position} position
   */
  constructor(leases, { key, stream, owner, fence, at }, position) {
    this.#leases = leases;
    this.key = key;
    this.stream = stream;
    this.owner = owner;
    this.fence = fence;
    this.tape = new Tape(position);
    this.#given = this.#handled = this.#kept = { count: 0, position };
    this.#keptAt = at;
  }

  get media() {
    return this.#media;
  }

  get position() {
    return this.#kept.position;
  }

  // Reading

  get wantsMore() {
    return this.state === "open" && this.#waiting.length < MAX_WAITING;
  }

  /**
   * Set the format of the entries that are read next.
   * @param {Media | undefined} media
   */
  know(media) {
    if (!media) return;
    this.tape.know(media);
    this.#media = media;
  }

  /**
   * @param {Entry[]} page from the `start` of its tape on
   * @param {boolean} isLast
   */
  add(page, isLast) {
    this.#waiting.push(...this.tape.read(page));
    this.isDrained = isLast && this.tape.isChecked;
    this.onChange();
  }

  // Giving

  get hasNext() {
    return this.#waiting.length > 0 && this.state === "open" && this.#isHeld;
  }

  /** Whether all is read and committed, and its last run has ended. */
  get isOver() {
    const { position } = this.#handled, isRead = position === this.tape.position;
    return this.isDrained && isRead && !this.isDirty && !!position.runs.at(-1)?.ended;
  }

  /** @returns {Event | undefined} */
  next() {
    const news = this.hasNext ? this.#waiting.shift() : undefined;
    if (!news) return undefined;
    const { position, ...event } = news;
    if (event.type === "started") this.#media = event.data; // the tape is ahead
    this.#given = { count: this.#given.count + 1, position };
    return /** @type {Event} */ ({ ...event, call: this });
  }

  /** Mark delivered events as handled. */
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
    return this.#kept.count !== this.#handled.count;
  }

  get keptAt() {
    return this.#keptAt;
  }

  get #isHeld() {
    return performance.now() - this.#keptAt < this.#leases.options.lease;
  }

  /** Renew the lease and commit handled events; one at a time. Throws if the broker is away. */
  async keep() {
    this.#keeping ??= this.#keep().finally(() => (this.#keeping = undefined));
    return this.#keeping;
  }

  async #keep() {
    const mark = this.#handled, at = performance.now();
    const outcome = await this.#leases.keep(this, mark.position);
    if (outcome === "held") [this.#kept, this.#keptAt] = [mark, at];
    if (outcome === "doubtful") this.#keptAt = -Infinity; // until it is settled who owns it
    this.onChange();
  }

  async commit() {
    this.handle();
    const { count } = this.#handled, limit = performance.now() + COMMIT_LIMIT_MS;
    const isCommitted = () => this.#kept.count >= count;
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

  /** Mark the rest of the run as handled. */
  skip() {
    const { position, count } = this.#handled, { entry, checksum } = position;
    const run = position.runs.at(-1)?.run ?? [...this.tape.runs.values()].at(-1);
    if (run === undefined || hasRead(position, run)) return;
    const ended = { ...progressOf(position, run), ended: true };
    this.#given = this.#handled = { count: count + 1, position: behind(position, entry, checksum, ended) };
  }

  /** @param {CallState} state */
  close(state) {
    this.state = state;
    this.#waiting = [];
    this.onChange();
  }

  // Lag

  async lag() {
    if (this.state !== "open") return 0;
    const { next, trimmed, frameMs } = await this.#leases.published(this.stream);
    const { entry } = this.#handled.position;
    const done = Math.max(trimmed, entry ? numbers(entry)[1] + 1 : 0);
    return Math.round(Math.max(0, next - done) * (this.tape.frameMs || frameMs));
  }
}
