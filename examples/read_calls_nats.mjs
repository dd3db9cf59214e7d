// Follow calls, one process under one NAME: node read_calls_nats.mjs nats://HOST:PORT NAME
// A client of its own over a plain socket: NATS is a protocol of text lines.
import { connect } from "node:net";

const [url, name] = process.argv.slice(2);
