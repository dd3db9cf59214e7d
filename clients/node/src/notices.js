/** Follows the index as a consumer of the group, and claims the calls that it announces. */

import { isRefusal } from "./link.js";
import { before, NOTHING } from "./track.js";

/**
 * @typedef {import("./leases.js").Leases} Leases
 * @typedef {import("./link.js").Link} Link
 * @typedef {Record<string, string>} Notice
 */

/** Few, so that the workers share what is announced at once. */
const MAX_NOTICES = 8;
const BLOCK_MS = 1_000;
const NEW = ">";
const PENDING = "0";

export class Notices {
  #leases;
  #link;
  #index;
  #from = PENDING;
  #readOn = 0;
  #claimedAt = -Infinity;

  /**
   * @param {Leases} leases
   * @param {Link} link
   */
  constructor(leases, link) {
    this.#leases = leases;
    this.#link = link;
    this.#index = `${leases.options.prefix}:interactions`;
  }

  /** Make the group, from the first notice that the index has, if there is none. */
  async join() {
    const { group } = this.#leases.options;
    try {
      await this.#link.send("XGROUP", "CREATE", this.#index, group, "0", "MKSTREAM");
    } catch (error) {
      if (!isRefusal(error, "BUSYGROUP")) throw error;
    }
  }

  /** Take the next notices: own pending ones first after a failure, and those of dead workers. */
  async followOnce() {
    const { group, worker, lease } = this.#leases.options;
    if (this.#readOn !== this.#link.number) this.#from = PENDING;
    this.#readOn = this.#link.number;
    const consumer = ["GROUP", group, worker, "COUNT", MAX_NOTICES, "BLOCK", BLOCK_MS];
    try {
      const found = await this.#link.send(
        "XREADGROUP", ...consumer, "STREAMS", this.#index, this.#from,
      );
      const notices = found?.[0]?.[1] ?? [];
      await this.#consider(notices);
      if (this.#from === PENDING && !notices.length) this.#from = NEW;
      if (performance.now() - this.#claimedAt > lease) {
        this.#claimedAt = performance.now();
        const words = [this.#index, group, worker, lease, "0", "COUNT", MAX_NOTICES];
        const [, pending] = await this.#link.send("XAUTOCLAIM", ...words);
        await this.#consider(pending);
      }
    } catch (error) {
      this.#from = PENDING;
      if (!isRefusal(error, "NOGROUP")) throw error;
      await this.join(); // a fresh broker, or one that came back without it
    }
  }

  /** Leave the group, unless notices wait for this worker. */
  async leave() {
    const { group, worker } = this.#leases.options;
    const words = ["GROUP", group, worker, "COUNT", 1, "STREAMS", this.#index, PENDING];
    const found = await this.#link.send("XREADGROUP", ...words);
    if (found?.[0]?.[1]?.length) return;
    await this.#link.send("XGROUP", "DELCONSUMER", this.#index, group, worker);
  }

  /** @param {[Buffer, Buffer[] | null][]} entries */
  async #consider(entries) {
    if (!entries.length) return;
    /** @type {Map<string, Notice[]>} */
    const byKey = new Map();
    for (const [, words] of entries) {
      const notice = noticeOf(words ?? []), key = notice.key ?? "";
      byKey.set(key, [...(byKey.get(key) ?? []), notice]);
    }
    await Promise.all([...byKey].map(([key, notices]) => this.#claim(key, notices)));
    const { group } = this.#leases.options;
    await this.#link.send("XACK", this.#index, group, ...entries.map(([id]) => id));
  }

  /**
   * @param {string} key
   * @param {Notice[]} notices of one stream
   */
  async #claim(key, notices) {
    const stream = /\{(.+)\}$/.exec(key)?.[1];
    if (!stream || !(await this.#link.send("EXISTS", key))) return; // it has expired
    for (const { run = "", type, resumed, entry = "" } of notices) {
      if (this.#leases.calls.has(stream)) return;
      const isStart = type === "started" && resumed === "0";
      await this.#leases.claim(stream, run, isStart ? before(entry) : NOTHING.id);
    }
  }
}

/**
 * @param {Buffer[]} words
 * @returns {Notice}
 */
function noticeOf(words) {
  const notice = /** @type {Notice} */ ({});
  for (let at = 0; at + 1 < words.length; at += 2) notice[`${words[at]}`] = `${words[at + 1]}`;
  return notice;
}
