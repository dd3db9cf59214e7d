/** A worker of a group: its connections, and the loops that run until it is closed. */

import { hostname } from "node:os";
import { setTimeout as sleep } from "node:timers/promises";
import { COMMIT_EVERY_MS, Leases, NotSettled } from "./leases.js";
import { Link } from "./link.js";
import { Notices } from "./notices.js";
import { readOnce } from "./reading.js";

/**
 * @typedef {import("../index.d.ts").Event} Event
 * @typedef {import("../index.d.ts").Reader} Api
 * @typedef {import("../index.d.ts").ReaderOptions} ReaderOptions
 * @typedef {import("./call.js").Call} Call
 */

const NAME = /^[A-Za-z0-9._~@+=-]{1,128}$/;
const RETRY_MS = 200;
const WAIT_MS = 20;
const MAX_LATE_MS = 80;
const CLOSE_LIMIT_MS = 5_000;

/** @implements {Api} */
export class Reader {
  #leases;
  #main;
  #streams;
  #notices;
  #report;
  #isClosing = false;
  /** @type {Promise<void> | undefined} */
  #closed;
  /** @type {Promise<void>[]} */
  #loops = [];
  /** Calls with an event to be given by the iterator, in turn. @type {Set<Call>} */
  #ready = new Set();
  #wake = () => {};
  /** @type {((call: Call) => void) | undefined} */
  #handle;

  /** @param {ReaderOptions} options */
  constructor(options) {
    const { url, group, worker = `${hostname()}-${process.pid}`, prefix = "rtaa" } = options;
    const { lease = 10_000, settle = lease, maxCalls = 1_000, autoCommit = true } = options;
    if (!NAME.test(group)) throw new TypeError(`group: not a name: ${JSON.stringify(group)}`);
    if (!(lease >= 500)) throw new RangeError("lease: 500 ms or more");
    this.#report = options.onError ?? ((error) => console.error(error.message));
    const own = { prefix, group, worker, lease: Math.round(lease), settle, maxCalls, autoCommit };
    const report = this.#report;
    this.#main = new Link(url, report, () => {
      this.#leases.lost();
      this.#leases.restore().catch(report);
    });
    this.#streams = new Link(url, report);
    this.#leases = new Leases(this.#main, own, (call) => this.#opened(call), report);
    this.#notices = new Notices(this.#leases, this.#main);
  }

  /** @param {ReaderOptions} options */
  static async join(options) {
    const reader = new Reader(options);
    await Promise.all([reader.#main, reader.#streams].map((it) => it.open()));
    await reader.#retried(() => reader.#notices.join());
    return reader;
  }

  get worker() {
    return this.#leases.options.worker;
  }

  get calls() {
    return [...this.#leases.calls.values()];
  }

  async lag() {
    return Math.max(0, ...(await Promise.all(this.calls.map((call) => call.lag()))));
  }

  // One loop over all calls

  /** @returns {AsyncGenerator<Event, undefined>} */
  async *[Symbol.asyncIterator]() {
    this.#use((call) => {
      call.onChange = () => {
        if (!call.hasNext) return;
        this.#ready.add(call);
        this.#wake();
      };
    });
    const { autoCommit } = this.#leases.options;
    try {
      while (!this.#isClosing) {
        const [call] = this.#ready;
        if (!call) {
          await new Promise((resolve) => (this.#wake = () => resolve(undefined)));
          continue;
        }
        this.#ready.delete(call);
        const event = call.next();
        if (call.hasNext) this.#ready.add(call);
        if (!event) continue;
        yield event;
        if (autoCommit) call.handle();
      }
    } finally {
      await this.close();
    }
    return undefined;
  }

  // A handler for each call

  /** @param {(call: Call) => Promise<void>} handler */
  async run(handler) {
    /** @type {unknown[]} */
    const failures = [];
    /** @type {Set<Promise<void>>} */
    const handled = new Set();
    this.#use((call) => {
      const task = this.#handled(call, handler).catch((error) => {
        failures.push(error);
        this.#wake();
      });
      handled.add(task);
      task.finally(() => handled.delete(task));
    });
    while (!this.#isClosing && !failures.length) {
      await new Promise((resolve) => (this.#wake = () => resolve(undefined)));
    }
    await this.close();
    await Promise.all(handled);
    if (failures.length) throw failures[0];
  }

  /**
   * @param {Call} call
   * @param {(call: Call) => Promise<void>} handler
   */
  async #handled(call, handler) {
    await handler(call);
    while (call.state === "open" && !this.#isClosing) {
      try {
        call.skip();
        await this.#leases.leave(call, "left");
      } catch (error) {
        this.#report(/** @type {Error} */ (error));
        await sleep(RETRY_MS);
      }
    }
  }

  /** @param {(call: Call) => void} handle what becomes of a call that this worker comes to own */
  #use(handle) {
    if (this.#handle) throw new Error("a reader is used once: by one loop, or by `run`");
    if (this.#isClosing) return;
    this.#handle = handle;
    this.#loops = [
      this.#repeat(async () => {
        if (!this.#main.isReady) return WAIT_MS;
        await this.#leases.work();
        return COMMIT_EVERY_MS;
      }),
      this.#repeat(async () => {
        if (!this.#streams.isReady) return WAIT_MS;
        return await readOnce(this.#leases, this.#streams);
      }),
      this.#repeat(async () => {
        if (!this.#leases.isSettled || !this.#leases.hasRoom) return WAIT_MS;
        await this.#notices.followOnce();
        return WAIT_MS + Math.min(this.#leases.calls.size, MAX_LATE_MS); // who has less is sooner
      }),
    ];
  }

  /** @param {Call} call */
  #opened(call) {
    if (this.#handle) this.#handle(call);
  }

  /** @param {() => Promise<number>} step returns how long to wait before the next */
  async #repeat(step) {
    while (!this.#isClosing) await sleep(await this.#retried(step));
  }

  /**
   * @template T
   * @param {() => Promise<T>} step
   * @returns {Promise<T>}
   */
  async #retried(step) {
    for (;;) {
      try {
        return await step();
      } catch (error) {
        if (this.#isClosing) return /** @type {T} */ (0);
        if (!(error instanceof NotSettled)) this.#report(/** @type {Error} */ (error));
        await sleep(RETRY_MS);
      }
    }
  }

  async close() {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  async #close() {
    this.#isClosing = true;
    this.#wake();
    const leaving = this.#leave().catch(this.#report);
    const limit = new AbortController();
    await Promise.race([leaving, sleep(CLOSE_LIMIT_MS, undefined, limit).catch(() => {})]);
    limit.abort();
    for (const call of this.calls) call.close("left");
    for (const link of [this.#main, this.#streams]) link.close();
  }

  async #leave() {
    await this.#leases.work();
    await Promise.all(this.calls.map((call) => this.#leases.leave(call, "left")));
    await Promise.all(this.#loops);
    await this.#notices.leave();
  }

  async [Symbol.asyncDispose]() {
    await this.close();
  }
}
