/** Makes events of a stream's entries, whatever the broker repeats, loses or rewrites. Pure. */

import { crc32 } from "node:zlib";
import { behind, numbers, progressOf, unread } from "./position.js";

/**
 * @typedef {import("../index.d.ts").Media} Media
 * @typedef {import("../index.d.ts").Position} Position
 * @typedef {import("../index.d.ts").Progress} Progress
 *
 * @typedef {[id: Buffer, words: Buffer[]]} Entry as the broker answers: names and values in turn
 *
 * @typedef {object} News one event, and the position of the worker that has handled it
 * @property {string} type
 * @property {string} id
 * @property {string} run
 * @property {number} seq
 * @property {any} data
 * @property {Buffer} [audio]
 * @property {number} [receivedAtMs]
 * @property {Position} position
 */

/** How many entries can be gone back, and at once: at 20 ms a frame, twelve seconds and one. */
const MAX_PLACES = 600, STEP_BACK = 50;

const TYPES = new Set(["started", "audio", "gap", "dtmf", "mark", "ended"]);

/**
 * Give it what is stored from `start` on; it returns what is new.
 *
 * Before it trusts `start` it looks whether the entry there is the one that it has read. If not, the
 * broker was rolled back or emptied: it reads from an earlier place, and leaves out what it has had
 * of a run.
 */
export class Tape {
  isChecked = false;
  /** Of the newest `started`. @type {Media | undefined} */
  media;
  /** How long the latest frame sounds. */
  frameMs = 0;
  /** The run of each generation that is known. @type {Map<number, string>} */
  runs = new Map();
  /** @type {{ id: string, checksum: number, at: Progress }[]} */
  #places = [];

  /** @param {Position} position */
  constructor(position) {
    this.position = position;
    for (const { generation, run } of position.runs) this.runs.set(generation, run);
    const last = position.runs.at(-1), { entry: id, checksum } = position;
    if (!id || !last) return;
    this.#places.push({ id, checksum, at: { ...last, generation: numbers(id)[0] } });
  }

  /** The newest entry read, or '' if the stream is to be read from its start. */
  get start() {
    return this.#places.at(-1)?.id ?? "";
  }

  /**
   * Take in what a generation was started with. Its `started` may be trimmed.
   * @param {Media} media
   */
  know(media) {
    this.media = media;
    this.runs.set(media.generation, media.run);
  }

  /**
   * @param {Entry[]} page after `start`, or from it on if that is not checked
   * @returns {News[]}
   */
  read(page) {
    const place = this.#places.at(-1);
    if (place && !this.isChecked) {
      const [found] = page;
      if (!found || `${found[0]}` !== place.id || checksumOf(found[1]) !== place.checksum) {
        this.#places.splice(-STEP_BACK);
        return [];
      }
      page = page.slice(1);
    }
    this.isChecked = true;
    return page.flatMap((entry) => this.#read(entry));
  }

  /** @param {Entry} entry */
  #read([key, words]) {
    const id = `${key}`, [generation] = numbers(id), checksum = checksumOf(words);
    const fields = fieldsOf(words), { type } = fields;
    const place = this.#places.at(-1)?.at ?? unread("");
    const data = type !== "audio" && fields.body ? JSON.parse(`${fields.body}`) : {};
    let { run } = place;
    if (type === "started") [run, this.media] = [data.run, data];
    else if (generation !== place.generation) run = this.runs.get(generation) ?? "";
    this.runs.set(generation, run);
    const here = run === place.run ? place : unread(run);
    const first = type === "gap" ? data.first_missing : (fields.seq ?? here.seq);
    const seq = type === "gap" ? first + data.missing - 1 : first;
    const isSignal = type === "dtmf" || type === "mark";
    const signals = seq === here.seq ? here.signals + (isSignal ? 1 : 0) : 0;
    this.#places.push({ id, checksum, at: { run, generation, seq, signals, ended: false } });
    if (this.#places.length > 2 * MAX_PLACES) this.#places.splice(0, MAX_PLACES);

    let had = progressOf(this.position, run);
    let isNew = type === "ended" || seq > had.seq || (seq === had.seq && signals > had.signals);
    if (type === "started") isNew = generation > had.generation;
    if (had.ended || !isNew || !TYPES.has(type)) return [];
    const news = [];
    if (had.seq > -1 && had.seq < first - 1) {
      const missed = { first_missing: had.seq + 1, missing: first - 1 - had.seq, declared: false };
      had = { ...had, seq: first - 1, signals: 0 };
      const { entry, checksum: before } = this.position;
      news.push(this.#news("gap", id, entry, before, had, missed));
    }
    const next = { run, generation: Math.max(generation, had.generation), seq, signals, ended: false };
    if (type === "started" || type === "ended") {
      Object.assign(next, { seq: had.seq, signals: had.signals, ended: type === "ended" });
    }
    let told = data;
    if (type === "started") told = { ...data, resumed: data.resumed || had.generation >= 0 };
    if (type === "gap") {
      const from = Math.max(first, had.seq + 1);
      told = { first_missing: from, missing: seq + 1 - from, declared: true };
    }
    const event = this.#news(type, id, id, checksum, next, type === "audio" ? undefined : told);
    if (type === "audio" && fields.body) {
      event.audio = fields.body;
      event.receivedAtMs = fields.receivedAtMs;
      this.frameMs = fields.body.length / bytesPerMs(this.media);
    }
    return [...news, event];
  }

  /**
   * @param {string} type
   * @param {string} id
   * @param {string} entry
   * @param {number} checksum
   * @param {Progress} progress
   * @param {any} data
   * @returns {News}
   */
  #news(type, id, entry, checksum, progress, data) {
    this.position = behind(this.position, entry, checksum, progress);
    return { type, id, run: progress.run, seq: progress.seq, data, position: this.position };
  }
}

/**
 * What a generation was started with, if this entry says so.
 * @param {Entry | undefined} entry
 * @returns {Media | undefined}
 */
export function startedBy(entry) {
  const { type, body } = fieldsOf(entry?.[1] ?? []);
  return type === "started" ? JSON.parse(`${body}`) : undefined;
}

/** @param {Pick<Media, "sample_rate" | "channels" | "encoding"> | undefined} media */
function bytesPerMs(media) {
  if (!media) return 16;
  return (media.sample_rate * media.channels * (media.encoding === "mulaw" ? 1 : 2)) / 1_000;
}

/** @param {Buffer[]} words */
function fieldsOf(words) {
  const found = { type: "", receivedAtMs: 0 };
  const fields = /** @type {typeof found & { seq?: number, body?: Buffer }} */ (found);
  for (let at = 0; at + 1 < words.length; at += 2) {
    const name = `${words[at]}`, value = /** @type {Buffer} */ (words[at + 1]);
    if (name === "type") fields.type = `${value}`;
    else if (name === "seq") fields.seq = +`${value}`;
    else if (name === "received_at_ms") fields.receivedAtMs = +`${value}`;
    else if (name === "audio" || name === "data") fields.body = value;
  }
  return fields;
}

const NUL = Buffer.alloc(1);

/** CRC-32 of the values, with a NUL between each two. @param {Buffer[]} words */
function checksumOf(words) {
  let sum = 0;
  for (let at = 1; at < words.length; at += 2) {
    if (at > 1) sum = crc32(NUL, sum);
    sum = crc32(/** @type {Buffer} */ (words[at]), sum);
  }
  return sum;
}
