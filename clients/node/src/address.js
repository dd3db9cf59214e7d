/** The address of the broker, from a URL in the forms of the service's `REDIS_URL`. */

import { readFileSync } from "node:fs";

/**
 * @typedef {object} Place one server, and its login
 * @property {string | undefined} username
 * @property {string | undefined} password
 * @property {number} database
 * @property {{ path: string } | { host: string, port: number, tls?: true }} socket
 *
 * @typedef {object} Address
 * @property {"server" | "sentinel" | "cluster"} kind
 * @property {Place[]} seeds the server, the Sentinels, or some nodes of the cluster
 * @property {Place} server the login of servers that become known later
 * @property {string} name the primary's, at the Sentinels
 */

const SEVERAL = /^(rediss?)\+(sentinel|cluster):\/\/(.*@)?([^/?]*)\/?([^/?]*)\/?([^?]*)(.*)$/i;
const REDIS_PORT = 6379, SENTINEL_PORT = 26379;

/**
 * Throws a TypeError if it is not a valid URL, or if a file that it names cannot be read.
 * @param {string} url
 * @returns {Address}
 */
export function addressOf(url) {
  const [, scheme = "", kind, login = "", hosts = "", name = "", database, query] = SEVERAL.exec(url) ?? [];
  if (kind === undefined) {
    const server = placeOf(new URL(url), REDIS_PORT);
    return { kind: "server", seeds: [server], server, name: "" };
  }
  const urls = hosts.split(",").map((host) => new URL(`${scheme}://${login}${host}/${database}${query}`));
  const port = kind.toLowerCase() === "cluster" ? REDIS_PORT : SENTINEL_PORT;
  const places = urls.map((it) => placeOf(it, port)), [server] = places;
  if (!server) throw new TypeError("a URL without a host");
  if (port === REDIS_PORT) return { kind: "cluster", seeds: places, server, name: "" };
  return { kind: "sentinel", seeds: urls.map(sentinelOf), server, name: decodeURIComponent(name) };
}

/**
 * @param {URL} url
 * @returns {Place} at a Sentinel: with its own password, and as many certificates as the servers
 */
function sentinelOf(url) {
  const { searchParams: options } = url, tls = options.get("sentinel_tls");
  const at = new URL(`${tls ? (tls === "yes" ? "rediss:" : "redis:") : url.protocol}//${url.host}${url.search}`);
  return {
    ...placeOf(at, SENTINEL_PORT),
    username: options.get("sentinel_username") ?? undefined,
    password: options.get("sentinel_password") ?? undefined,
  };
}

/**
 * @param {URL} url of one server
 * @param {number} defaultPort
 * @returns {Place}
 */
function placeOf({ protocol, hostname, port, username, password, pathname, searchParams: options }, defaultPort) {
  const login = { username: textOf(username), password: textOf(password) };
  if (protocol === "unix:") {
    const database = Number(options.get("db") ?? 0);
    return { ...login, database, socket: { path: decodeURIComponent(pathname) } };
  }
  const database = Number(options.get("db") ?? pathname.slice(1));
  const host = hostname.replace(/^\[|\]$/g, "") || "localhost";
  const tls = protocol === "rediss:" ? tlsOf(options) : {};
  return { ...login, database, socket: { host, port: Number(port) || defaultPort, ...tls } };
}

/** @param {URLSearchParams} options named as redis-py names them */
function tlsOf(options) {
  const ca = options.get("ssl_ca_certs"), cert = options.get("ssl_certfile");
  const key = options.get("ssl_keyfile") ?? cert, mode = options.get("ssl_cert_reqs");
  return {
    tls: /** @type {const} */ (true),
    ...(ca && { ca: readFileSync(ca) }),
    ...(cert && key && { cert: readFileSync(cert), key: readFileSync(key) }),
    ...(mode && { rejectUnauthorized: mode !== "none" }),
  };
}

/** @param {string} part of a URL */
function textOf(part) {
  return decodeURIComponent(part) || undefined;
}
