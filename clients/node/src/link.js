/** One connection to the broker, which comes back by itself. */

import { createHash } from "node:crypto";
import { createClient, RESP_TYPES } from "@redis/client";

/** @typedef {{ text: string, sha: string }} Script */

const MAX_BACKOFF_MS = 400;
const PING_MS = 1_000;
const SILENT_MS = 5_000;

export class Link {
  /** How often it has been made; a command's answer belongs to one of these connections. */
  number = 0;
  /** When it was last made, by `performance.now()`. */
  since = 0;
  #client;
  #isClosed = false;

  /**
   * @param {string} url
   * @param {(error: Error) => void} onError
   * @param {() => void} onReady
   */
  constructor(url, onError, onReady = () => {}) {
    const at = url.startsWith("unix://") ? unixSocket(url) : { url };
    const socket = {
      connectTimeout: SILENT_MS,
      socketTimeout: SILENT_MS, // a frozen broker: the pings have no answer
      reconnectStrategy: (/** @type {number} */ turn) => Math.min(50 * 2 ** turn, MAX_BACKOFF_MS),
    };
    this.#client = createClient({
      ...at,
      socket: { ...socket, ...("socket" in at ? at.socket : {}) },
      RESP: 2,
      disableOfflineQueue: true, // a command is answered by the connection that it was meant for
      disableClientInfo: true,
      maintNotifications: "disabled",
      pingInterval: PING_MS,
      commandOptions: { typeMapping: { [RESP_TYPES.BLOB_STRING]: Buffer } },
    });
    this.#client.on("error", onError).on("ready", () => {
      this.number += 1;
      this.since = performance.now();
      onReady();
    });
  }

  get isReady() {
    return this.#client.isReady;
  }

  /** Connect; a broker that is away is waited for, until `close`. */
  async open() {
    await this.#client.connect();
  }

  /**
   * Send a command; bulk strings of the reply are Buffers.
   * @param {...(string | number | Buffer)} words
   * @returns {Promise<any>}
   */
  async send(...words) {
    const text = words.map((it) => (typeof it === "number" ? `${it}` : it));
    return this.#client.sendCommand(text);
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
      await this.send("SCRIPT", "LOAD", text);
      return await this.send("EVALSHA", sha, ...words);
    }
  }

  close() {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#client.destroy();
  }
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

/** @param {string} url */
function unixSocket(url) {
  const { username, password, pathname, searchParams } = new URL(url);
  const database = Number(searchParams.get("db") ?? 0);
  return {
    username: decodeURIComponent(username) || undefined,
    password: decodeURIComponent(password) || undefined,
    database,
    socket: { path: decodeURIComponent(pathname) },
  };
}
