/** Which entries of a stream are news: no event comes a second time. Pure: no broker, no clock. */

import { createHash } from "node:crypto";

/**
 * @typedef {import("../index.d.ts").Progress} Progress
 * @typedef {import("../index.d.ts").Media} Media
 *
 * @typedef {object} Entry one entry of a stream
 * @property {string} id
 * @property {string} type
 * @property {number} seq of audio
 * @property {number} receivedAtMs of audio
 * @property {Buffer} body the audio, or the JSON of another type
 *
 * @typedef {object} News one event, and the progress of who has handled it
 * @property {string} type
 * @property {string} id
 * @property {string} run
 * @property {number} seq
 * @property {any} data
 * @property {Buffer} [audio]
 * @property {number} [receivedAtMs]
 * @property {Progress} progress
 */

const MAX_SIGNALS = 20;
const MAX_OLDER_RUNS = 8;
const START_OF_STREAM = "0-0";

/** @type {Progress} */
export const NOTHING = {
  id: START_OF_STREAM, generation: 0, run: "", seq: -1, bytes: 0, ended: false, signals: [], older: [],
};

export class Track {
  /** Behind which entry to read. */
  cursor;
  /** The newest `started`. @type {Media | undefined} */
  media;
  #at;
  #isOlderRun = false;
  #isFromStart = false;
  /** While the stream may repeat signals: those that may come again, and the seq read so far. */
  #repeats = /** @type {{ signals: [string, number][], seq: number | null } | null} */ (null);

  /**
   * @param {Progress} from
   * @param {Media} [media]
   */
  constructor(from, media) {
    this.#at = from;
    this.cursor = from.id;
    this.media = media;
  }

  /** What has been read, behind the newest event. */
  get progress() {
    return this.#at;
  }

  /** Read the stream from its start, which may be that of another one by now. */
  rewind() {
    this.cursor = START_OF_STREAM;
    this.#isFromStart = true;
    this.#isOlderRun = false;
    this.#expectRepeats();
  }

  /**
   * Whether the stream whose head is this has the entries that were read, or else is another one.
   * @param {number} generation
   * @param {string} run
   */
  isOfSameStream(generation, run) {
    const [read] = parts(this.#at.id);
    if (generation !== read) return generation > read;
    return this.#at.run === "" || run === this.#at.run;
  }

  /**
   * Take the next entry. Where it belongs to a run whose beginning was missed, `rewind` and
   * nothing else happens.
   * @param {Entry} entry
   * @returns {News[]}
   */
  take(entry) {
    if (entry.type === "started") return this.#started(entry);
    const news = this.#at.run === "" ? this.#trimmedStart(entry) : [];
    this.cursor = entry.id;
    if (this.#isOlderRun) return news;
    if (entry.type === "audio") return [...news, ...this.#audio(entry)];
    if (entry.type === "gap") return [...news, ...this.#gap(entry)];
    if (entry.type === "ended") return [...news, ...this.#ended(entry)];
    return [...news, ...this.#signal(entry)];
  }

  /** @param {Entry} entry */
  #started(entry) {
    const data = json(entry.body), [generation, position] = parts(entry.id);
    const { run, resumed } = data, at = this.#at;
    const isMissed = run !== at.run && at.run !== "" && resumed && position > 0;
    if (isMissed && !at.older.includes(run) && !this.#isFromStart) {
      this.rewind();
      return [];
    }
    this.cursor = entry.id;
    this.#isOlderRun = at.older.includes(run);
    if (this.#isOlderRun) return [];
    if (run === at.run) {
      this.#expectRepeats();
      this.media = data;
      if (generation <= at.generation) return [];
      const progress = { ...at, id: entry.id, generation };
      return [this.#news(entry, { ...data, resumed: true }, progress)];
    }
    return [this.#newRun(entry, data, generation)];
  }

  /** @param {Entry} entry */
  #trimmedStart(entry) {
    if (!this.media) return [];
    return [this.#newRun(entry, { ...this.media, resumed: true }, parts(entry.id)[0], "started")];
  }

  /**
   * @param {Entry} entry
   * @param {Media} data
   * @param {number} generation
   * @param {string} type
   */
  #newRun(entry, data, generation, type = entry.type) {
    const { run, older } = this.#at;
    this.media = data;
    this.#repeats = null;
    this.#isFromStart = false;
    const earlier = run === "" ? older : [run, ...older].slice(0, MAX_OLDER_RUNS);
    const progress = { ...NOTHING, id: entry.id, generation, run: data.run, older: earlier };
    return this.#news({ ...entry, type }, data, progress);
  }

  /** @param {Entry} entry */
  #audio(entry) {
    const { seq, id, body } = entry, at = this.#at, news = [];
    if (this.#repeats) this.#repeats.seq = seq;
    if (seq <= at.seq) return [];
    this.#repeats = null;
    if (at.seq >= 0 && seq > at.seq + 1) {
      const data = { first_missing: at.seq + 1, missing: seq - at.seq - 1, trimmed: true };
      news.push(this.#news({ ...entry, type: "gap" }, data, { ...at, seq: seq - 1 }));
    }
    const progress = { ...this.#at, id, seq, bytes: at.bytes + body.length };
    return [...news, this.#news(entry, undefined, progress)];
  }

  /** @param {Entry} entry */
  #gap(entry) {
    const data = json(entry.body), at = this.#at;
    const last = data.first_missing + data.missing - 1;
    if (this.#repeats) this.#repeats.seq = last;
    if (last <= at.seq) return [];
    const first = Math.max(data.first_missing, at.seq + 1);
    const rest = { first_missing: first, missing: last - first + 1 };
    return [this.#news(entry, rest, { ...at, id: entry.id, seq: last })];
  }

  /** @param {Entry} entry */
  #signal(entry) {
    const at = this.#at, name = digest(entry);
    if (this.#isRepeated(name)) return [];
    /** @type {[string, number][]} */
    const signals = [...at.signals, [name, at.seq]];
    const progress = { ...at, id: entry.id, signals: signals.slice(-MAX_SIGNALS) };
    return [this.#news(entry, json(entry.body), progress)];
  }

  /** @param {string} name */
  #isRepeated(name) {
    const repeats = this.#repeats;
    if (!repeats) return false;
    const { seq, signals } = repeats;
    if (seq !== null && seq < this.#at.seq) return true;
    const found = signals.findIndex(([it, when]) => it === name && (seq === null || seq === when));
    if (found < 0) return false;
    signals.splice(found, 1);
    return true;
  }

  /** @param {Entry} entry */
  #ended(entry) {
    const at = this.#at;
    if (at.ended) return [];
    return [this.#news(entry, json(entry.body), { ...at, id: entry.id, ended: true })];
  }

  #expectRepeats() {
    this.#repeats = { signals: [...this.#at.signals], seq: null };
  }

  /**
   * @param {Entry} entry
   * @param {any} data
   * @param {Progress} progress
   * @returns {News}
   */
  #news(entry, data, progress) {
    this.#at = progress;
    const { type, id } = entry, { run, seq } = progress;
    if (type !== "audio") return { type, id, run, seq, data, progress };
    const { body: audio, receivedAtMs } = entry;
    return { type, id, run, seq, data, audio, receivedAtMs, progress };
  }
}

/**
 * @param {string} id
 * @returns {[generation: number, position: number]}
 */
export function parts(id) {
  const [generation, position] = id.split("-");
  return [Number(generation), Number(position)];
}

/**
 * The cursor in front of an entry: what is read behind it begins with the entry.
 * @param {string} id
 */
export function before(id) {
  const [generation, position] = parts(id);
  return position > 0 ? `${generation}-${position - 1}` : `${generation - 1}-${2n ** 64n - 1n}`;
}

/** @param {Buffer} body */
function json(body) {
  return JSON.parse(body.toString());
}

/** @param {Entry} entry */
function digest({ type, body }) {
  return createHash("sha256").update(`${type}:`).update(body).digest("hex").slice(0, 12);
}
