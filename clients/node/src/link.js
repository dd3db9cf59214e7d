/** One connection to the broker, or one to each primary of a cluster, which come back by themselves. */

import { createHash } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { createClient, createCluster, RESP_TYPES } from "@redis/client";
import { addressOf } from "./address.js";

/**
 * @typedef {{ text: string, sha: string }} Script
 * @typedef {string | number | Buffer} Word
 * @typedef {import("./address.js").Place} Place
 */

const MIN_BACKOFF_MS = 50, MAX_BACKOFF_MS = 400;
const PING_MS = 1_000;
const SILENT_MS = 5_000;
const SENTINEL_LIMIT_MS = 1_000;

const COMMON = {
  disableOfflineQueue: true, // a command is answered by the connection that it was meant for
  disableClientInfo: true,
  maintNotifications: /** @type {const} */ ("disabled"),
  pingInterval: PING_MS,
};
const REPLIES = { RESP: /** @type {const} */ (2), commandOptions: { typeMapping: { [RESP_TYPES.BLOB_STRING]: Buffer } } };

export class Link {
  /** How often it has been made; a command's answer belongs to one of these connections. */
  number = 0;
  #address;
  #onError;
  #onReady;
  #isClosed = false;
  /** @type {{ isReady: boolean, send: (words: (string | Buffer)[]) => Promise<any>, destroy: () => void }} */
  #client = { isReady: false, send: async () => undefined, destroy: () => {} };

  /**
   * @param {string} url
   * @param {(error: Error) => void} onError
   * @param {() => void} onReady
   */
  constructor(url, onError, onReady = () => {}) {
    this.#address = addressOf(url);
    this.#onError = onError;
    this.#onReady = onReady;
  }

  get isReady() {
    return this.#client.isReady;
  }

  /** Whether keys are on several servers: no command may name two calls. */
  get isCluster() {
    return this.#address.kind === "cluster";
  }

  /** Connect; a broker that is away is waited for, until `close`. */
  async open() {
    for (let turn = 0; !this.#isClosed; turn += 1) {
      try {
        return await (this.isCluster ? this.#connectCluster() : this.#connect());
      } catch {
        await sleep(backoff(turn)); // what is wrong was told to `onError`
      }
    }
  }

  async #connect() {
    const { kind, server, seeds, name } = this.#address;
    const socket = kind === "sentinel" ? { ...server.socket, ...(await this.#primary(seeds, name)) } : server.socket;
    const client = createClient({
      ...server,
      ...COMMON,
      ...REPLIES,
      socket: { ...socket, connectTimeout: SILENT_MS, socketTimeout: SILENT_MS, reconnectStrategy: false },
    });
    client.on("error", this.#onError).once("ready", () => {
      client.once("terminated", () => setImmediate(() => this.#reopen(client)));
      this.#ready();
    });
    this.#use(client, (words) => client.sendCommand(words));
    await client.connect();
  }

  async #connectCluster() {
    const { server, seeds } = this.#address;
    const limits = { connectTimeout: SILENT_MS, socketTimeout: SILENT_MS, reconnectStrategy: /** @type {false} */ (false) };
    const { host: _, port: __, ...tls } = /** @type {any} */ (server.socket);
    const cluster = createCluster({
      rootNodes: seeds.map(({ socket }) => ({ socket: { ...socket, ...limits } })),
      defaults: { ...COMMON, username: server.username, password: server.password, socket: { ...tls, ...limits } },
      ...REPLIES,
    });
    let isLost = false;
    cluster.on("error", this.#onError).on("node-error", (/** @type {Error} */ error) => {
      this.#onError(error);
      if (!cluster.isReady || isLost) return;
      isLost = true; // it may have been replaced: who has which slots is asked once more
      setImmediate(() => this.#reopen(cluster));
    });
    this.#use(cluster, (words) => cluster.sendCommand(keyOf(words), false, words));
    try {
      await cluster.connect();
    } catch (error) {
      cluster.destroy();
      throw error;
    }
    cluster.on("node-ready", () => this.#ready());
    this.#ready();
  }

  /**
   * The place that a majority of the Sentinels names.
   * @param {Place[]} sentinels
   * @param {string} name
   */
  async #primary(sentinels, name) {
    const named = await Promise.all(sentinels.map((it) => nameOf(it, name).catch(() => "")));
    const place = named.find((it) => it && named.filter((other) => other === it).length > named.length / 2);
    if (place) return JSON.parse(place);
    const error = new Error(`no majority of the Sentinels names a primary of ${JSON.stringify(name)}`);
    this.#onError(error);
    throw error;
  }

  /**
   * @param {{ isReady: boolean, destroy: () => void }} client
   * @param {(words: (string | Buffer)[]) => Promise<any>} send
   */
  #use(client, send) {
    this.#client = {
      get isReady() {
        return client.isReady;
      },
      send,
      destroy: () => client.destroy(),
    };
    if (this.#isClosed) client.destroy();
  }

  #ready() {
    this.number += 1;
    this.#onReady();
  }

  /** @param {{ destroy: () => void }} lost */
  #reopen(lost) {
    lost.destroy();
    return this.open();
  }

  /**
   * Send a command; bulk strings of the reply are Buffers.
   * @param {...Word} words
   * @returns {Promise<any>}
   */
  async send(...words) {
    const text = words.map((it) => (typeof it === "number" ? `${it}` : it));
    return this.#client.send(text);
  }

  /**
   * @param {Script} script
   * @param {string[]} keys
   * @param {(string | number)[]} values
   */
  async run({ sha, text }, keys, values) {
    const words = [keys.length, ...keys, ...values];
    try {
      return await this.send("EVALSHA", sha, ...words);
    } catch (error) {
      if (!isRefusal(error, "NOSCRIPT")) throw error;
      return await this.send("EVAL", text, ...words);
    }
  }

  close() {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#client.destroy();
  }
}

/**
 * @param {Place} sentinel
 * @param {string} name
 * @returns {Promise<string>} host and port of the primary, as JSON; '' where it knows none
 */
async function nameOf({ socket, ...login }, name) {
  const limits = { connectTimeout: SENTINEL_LIMIT_MS, socketTimeout: SENTINEL_LIMIT_MS };
  const client = createClient({
    username: login.username,
    password: login.password,
    ...COMMON,
    RESP: 2,
    socket: { ...socket, ...limits, reconnectStrategy: false },
  });
  client.on("error", () => {}); // another one is asked as well
  try {
    await client.connect();
    const found = await client.sendCommand(["SENTINEL", "GET-MASTER-ADDR-BY-NAME", name]);
    if (!Array.isArray(found)) return "";
    return JSON.stringify({ host: `${found[0]}`, port: Number(found[1]) });
  } finally {
    client.destroy();
  }
}

/** @param {number} turn */
function backoff(turn) {
  return Math.min(MIN_BACKOFF_MS * 2 ** turn, MAX_BACKOFF_MS);
}

/**
 * The key by whose slot a command goes to its server.
 * @param {(string | Buffer)[]} words
 */
function keyOf(words) {
  const streams = words.indexOf("STREAMS"), [name] = words;
  if (streams > 0) return words[streams + 1];
  return words[name === "EVALSHA" || name === "EVAL" ? 3 : name === "XGROUP" ? 2 : 1];
}

/**
 * @param {string} text
 * @returns {Script}
 */
export function script(text) {
  return { text, sha: createHash("sha1").update(text).digest("hex") };
}

/**
 * @param {unknown} error
 * @param {string} code
 */
export function isRefusal(error, code) {
  return error instanceof Error && error.message.startsWith(code);
}
