/**
 * Follows the index as a consumer of the group, and claims the calls that it announces.
 *
 * The notice of a run stays pending until the run is read and committed. One that no worker has
 * touched for the time of a lease is tried again by the next worker that looks: so the calls of a
 * worker that is gone are taken over.
 */

import { isRefusal } from "./link.js";
import { NotSettled } from "./leases.js";

/**
 * @typedef {import("./leases.js").Leases} Leases
 * @typedef {import("./link.js").Link} Link
 * @typedef {[id: Buffer, words: Buffer[] | null]} Entry
 * @typedef {Record<string, string>} Notice
 */

/** Few, so that the workers share what is announced at once. */
const MAX_NOTICES = 8;
const PAGE = 100;
const NEW = ">";
const PENDING = "0";

export class Notices {
  #leases;
  #link;
  #index;
  #from = PENDING;
  #readOn = 0;
  #cursor = "0-0";
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

  /** Take the next notices: own pending ones first after a failure, and those left untouched. */
  async followOnce() {
    const { group, worker } = this.#leases.options;
    if (this.#readOn !== this.#link.number) this.#from = PENDING;
    this.#readOn = this.#link.number;
    try {
      await this.#claimUntouched();
      const consumer = ["GROUP", group, worker, "COUNT", this.#from === NEW ? MAX_NOTICES : PAGE];
      const words = [...consumer, "STREAMS", this.#index, this.#from];
      const found = await this.#link.send("XREADGROUP", ...words);
      /** @type {Entry[]} */
      const notices = found?.[0]?.[1] ?? [];
      await this.#consider(notices);
      if (this.#from !== NEW) this.#from = `${notices.at(-1)?.[0] ?? NEW}`;
    } catch (error) {
      this.#from = PENDING;
      if (!isRefusal(error, "NOGROUP")) throw error;
      await this.join(); // a fresh broker, or one that came back without it
    }
  }

  /** Offer what is pending here to the other workers at once, and leave the group. */
  async leave() {
    const { group, worker, lease } = this.#leases.options;
    const words = ["GROUP", group, worker, "COUNT", 10_000, "STREAMS", this.#index, PENDING];
    const found = await this.#link.send("XREADGROUP", ...words);
    /** @type {Entry[]} */
    const notices = found?.[0]?.[1] ?? [];
    const ids = notices.map(([id]) => id);
    const idle = [worker, 0, ...ids, "IDLE", lease, "JUSTID"];
    if (ids.length) await this.#link.send("XCLAIM", this.#index, group, ...idle);
    else await this.#link.send("XGROUP", "DELCONSUMER", this.#index, group, worker);
  }

  async #claimUntouched() {
    const { group, worker, lease } = this.#leases.options, now = performance.now();
    if (now < this.#claimedAt + lease / 3) return;
    const idle = [worker, lease, this.#cursor, "COUNT", PAGE];
    const [cursor, notices] = await this.#link.send("XAUTOCLAIM", this.#index, group, ...idle);
    this.#cursor = `${cursor}`;
    await this.#consider(notices.filter(Boolean)); // Redis 6 has nothing of one that is trimmed
    if (this.#cursor === "0-0") this.#claimedAt = now; // else there are more
  }

  /** @param {Entry[]} entries */
  async #consider(entries) {
    if (!entries.length) return;
    if (await this.#leases.isAnother()) {
      this.#leases.unsettle();
      throw new NotSettled();
    }
    /** @type {Map<string, [id: Buffer, notice: Notice][]>} */
    const byKey = new Map();
    for (const [id, words] of entries) {
      const notice = noticeOf(words ?? []), key = notice.key ?? "";
      byKey.set(key, [...(byKey.get(key) ?? []), [id, notice]]);
    }
    const groups = [...byKey.values()];
    const read = (await Promise.all(groups.map((notices) => this.#read(notices)))).flat();
    if (read.length) await this.#link.send("XACK", this.#index, this.#leases.options.group, ...read);
  }

  /**
   * Try to own a stream, and return the notices of it that are done with.
   * @param {[id: Buffer, notice: Notice][]} notices of one stream, in order
   */
  async #read(notices) {
    const read = [];
    for (const [id, notice] of notices) {
      if (notice.type !== "started" || (await this.#isRead(notice))) read.push(id);
    }
    return read;
  }

  /** @param {Notice} notice */
  async #isRead({ key = "", run = "", generation = "", tenant_id: tenant, stream_id: name }) {
    const stream = `${tenant}/${name}`;
    if (!(await this.#link.send("EXISTS", key))) return true; // it has expired
    if (await this.#leases.hasRead(stream, run, +generation)) return true;
    if (this.#leases.hasRoom) await this.#leases.claim(stream);
    const call = this.#leases.calls.get(stream);
    if (call) call.tape.isChecked = false;
    call?.tape.runs.set(+generation, run);
    return false;
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
