/** The calls that this worker owns, by the group's leases at the broker. */

import { randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";
import { Call } from "./call.js";
import { script } from "./link.js";
import { dumps, hasRead, isEarlier, loads, NOTHING } from "./position.js";

/**
 * @typedef {import("../index.d.ts").Position} Position
 * @typedef {import("../index.d.ts").Media} Media
 * @typedef {import("./link.js").Link} Link
 *
 * @typedef {object} Options
 * @property {string} prefix
 * @property {string} group
 * @property {string} worker
 * @property {number} lease
 * @property {number} settle
 * @property {number} maxCalls
 * @property {boolean} autoCommit
 *
 * @typedef {{ stream: string, owner: string, fence: number }} Lease
 * @typedef {{ isHeld: boolean, fence: number, text: string }} Answer
 */

const HOLD = script(readFileSync(new URL("./hold.lua", import.meta.url), "utf8"));

export const COMMIT_EVERY_MS = 200;
/** How long the release of a call is repeated to a broker that comes back. */
const REMEMBER_MS = 60_000;

/** The broker has come back, but the owners of its calls perhaps not yet: try again. */
export class NotSettled extends Error {}

export class Leases {
  /** By stream. @type {Map<string, Call>} */
  calls = new Map();
  /** @type {Map<string, Lease & { position: Position, at: number }>} */
  #left = new Map();
  /** @type {Map<string, Promise<void>>} */
  #claiming = new Map();
  #settledAt = Infinity;
  #isRestored = false;
  /** The token of the broker: one with another token may have lost data. */
  #token = "";
  #server = "";
  #link;

  /**
   * @param {Link} link
   * @param {Options} options
   * @param {(call: Call) => void} onCall
   * @param {(error: Error) => void} report
   */
  constructor(link, options, onCall, report) {
    this.#link = link;
    this.options = options;
    this.onCall = onCall;
    this.report = report;
    this.group = `${options.prefix}:reader:${options.group}`;
  }

  /** Whether calls may be claimed: their owners have had time to return after the broker did. */
  get isSettled() {
    return this.#link.isReady && this.#isRestored && performance.now() >= this.#settledAt;
  }

  get hasRoom() {
    return this.calls.size + this.#claiming.size < this.options.maxCalls;
  }

  /** The connection was lost: the broker may have been rolled back or emptied. */
  lost() {
    this.#isRestored = false;
  }

  /** The broker was emptied, whatever the connection. */
  unsettle() {
    this.#isRestored = false;
    this.#server = "another";
  }

  /**
   * Whether the broker has lost all that it had, without a connection being lost.
   * @param {string} token of the broker as it was known
   */
  async isAnother(token = this.#token) {
    return `${await this.#link.send("GET", this.group)}` !== token;
  }

  /** Repeat this worker's leases to a broker that has come back, perhaps rolled back or empty. */
  async restore() {
    const { number } = this.#link;
    const { id, uptime } = await this.#about();
    if (this.#server !== (id || `${number}`)) {
      const isOld = this.#server === "" && uptime * 1_000 > this.options.lease;
      this.#settledAt = isOld ? -Infinity : performance.now() + this.options.settle;
      this.#server = id || `${number}`;
    }
    await this.#link.send("SET", this.group, randomUUID(), "NX");
    this.#token = `${await this.#link.send("GET", this.group)}`;
    const left = [...this.#left.values()].map((it) => this.#hold(it, it.position, 0));
    await Promise.all([...[...this.calls.values()].map((call) => call.keep()), ...left]);
    this.#isRestored = number === this.#link.number;
  }

  /** The id of the server, and its uptime in seconds; '' if unknown. */
  async #about() {
    if (this.#link.isCluster) return { id: "", uptime: 0 }; // its servers have one each
    const info = await this.#link.send("INFO", "server").catch((error) => {
      if (this.#link.isReady) return ""; // the right is not needed
      throw error;
    });
    const [, id = ""] = /run_id:(\w+)/.exec(`${info}`) ?? [];
    return { id, uptime: Number(/uptime_in_seconds:(\d+)/.exec(`${info}`)?.[1] ?? 0) };
  }

  /**
   * @param {Lease} lease
   * @param {Position} position
   * @param {number} ms 0: release it
   * @returns {Promise<Answer>}
   */
  async #hold({ stream, owner, fence }, position, ms) {
    const values = [owner, this.options.worker, ms, fence, dumps(position)];
    const reply = await this.#link.run(HOLD, [this.#keyOf(stream)], values);
    return { isHeld: reply[0] === 1, fence: reply[1], text: `${reply[2] ?? ""}` };
  }

  /** @param {string} stream */
  #keyOf(stream) {
    return `${this.group}:{${stream}}`;
  }

  /**
   * Whether the group has read a run to its end.
   * @param {string} stream
   * @param {string} run
   * @param {number} generation
   */
  async hasRead(stream, run, generation) {
    const [text, newest] = await Promise.all([
      this.#link.send("HGET", this.#keyOf(stream), "position"),
      this.#link.send("HGET", `${this.options.prefix}:interaction:{${stream}}`, "generation"),
    ]);
    const position = loads(`${text ?? ""}`);
    return hasRead(position, run) || isEarlier(position, generation, Number(newest ?? -1));
  }

  /**
   * Own a call, if no other worker does. Throws if its owner could not be determined.
   * @param {string} stream
   */
  async claim(stream) {
    await this.#claiming.get(stream)?.catch(() => {});
    if (this.calls.has(stream)) return;
    if (!this.isSettled) throw new NotSettled();
    const claimed = this.#claim(stream);
    this.#claiming.set(stream, claimed);
    await claimed.finally(() => this.#claiming.delete(stream));
  }

  /** @param {string} stream */
  async #claim(stream) {
    const known = this.#left.get(stream), owner = randomUUID(), at = performance.now();
    const lease = { stream, owner, fence: known?.fence ?? 0 };
    const position = known?.position ?? NOTHING, token = this.#token;
    const { isHeld, fence, text } = await this.#hold(lease, position, this.options.lease);
    if (!isHeld) return;
    const held = { stream, owner, fence };
    this.#left.set(stream, { ...held, position: loads(text), at }); // released, if this goes wrong
    if (await this.isAnother(token)) {
      this.unsettle(); // emptied a moment ago: its owner may only have had no time to return
      throw new NotSettled();
    }
    this.#open(held, loads(text), at);
  }

  /**
   * @param {Lease} lease
   * @param {Position} position
   * @param {number} at
   */
  #open(lease, position, at) {
    const key = `${this.options.prefix}:audio:{${lease.stream}}`;
    const call = new Call(this, { ...lease, key, at }, position);
    this.#left.delete(lease.stream);
    this.calls.set(lease.stream, call);
    this.onCall(call);
  }

  /**
   * Renew the lease of a call, or release it if it is being left, and commit a position.
   * @param {Call} call
   * @param {Position} position
   * @returns {Promise<"held" | "lost" | "doubtful">}
   */
  async keep(call, position) {
    const { stream, owner } = call, at = performance.now();
    const ms = call.isLeaving ? 0 : this.options.lease;
    const { isHeld, fence, text } = await this.#hold(call, position, ms);
    const isOwn = isHeld && text === dumps(position);
    if (isOwn) {
      call.fence = fence;
      return "held";
    }
    if (!isHeld && fence <= call.fence) {
      // The broker has lost this lease, and perhaps just now.
      if (this.isSettled && (await this.isAnother())) this.unsettle();
      if (!this.isSettled) return "doubtful";
    }
    if (this.calls.get(stream) !== call) return "lost";
    this.calls.delete(stream);
    call.close("lost");
    if (isHeld && ms) this.#open({ stream, owner, fence }, loads(text), at); // from a later owner
    return "lost";
  }

  /**
   * Give a call up, with what is handled of it. Throws where the answer is lost.
   * @param {Call} call
   * @param {"finished" | "gone" | "left"} state
   */
  async leave(call, state) {
    call.isLeaving = true;
    await call.keep();
    if (call.state !== "open") return;
    const { stream, owner, fence, position } = call;
    this.#left.set(stream, { stream, owner, fence, position, at: performance.now() });
    this.calls.delete(stream);
    call.close(state);
  }

  /** Renew leases, commit, and leave the calls that are over. */
  async work() {
    if (!this.#isRestored) await this.restore();
    const now = performance.now(), renewAt = now - this.options.lease / 3;
    const calls = [...this.calls.values()];
    const due = calls.filter((it) => it.isDirty || it.keptAt < renewAt);
    await Promise.all(due.map((call) => call.keep()));
    await Promise.all(calls.filter((it) => it.isOver).map((call) => this.leave(call, "finished")));
    for (const [stream, { at }] of this.#left) {
      if (at < now - REMEMBER_MS) this.#left.delete(stream);
    }
  }

  /**
   * How many entries of a stream are published, and how long a frame sounds on average.
   * @param {string} stream
   */
  async published(stream) {
    const key = `${this.options.prefix}:interaction:{${stream}}`;
    const words = await this.#link.send("HMGET", key, "next", "trimmed", "ledger");
    const [next, trimmed, ledger] = words.map((/** @type {Buffer?} */ it) => it && `${it}`);
    const { audio_ms: ms = 0, published = 0 } = JSON.parse(ledger ?? "{}");
    return { next: +(next ?? 0), trimmed: +(trimmed ?? 0), frameMs: published ? ms / published : 0 };
  }

  /**
   * What a stream was started with last; undefined: the broker has nothing of it.
   * @param {string} stream
   * @returns {Promise<Media | undefined>}
   */
  async started(stream) {
    const key = `${this.options.prefix}:interaction:{${stream}}`;
    const started = await this.#link.send("HGET", key, "started");
    return started ? JSON.parse(`${started}`) : undefined;
  }
}
