// Follow calls, one process under one NAME: node read_calls_nats.mjs nats://HOST:PORT,… NAME
// It needs no package: NATS speaks lines of text. Only what reads entries() is about calls.
import { randomUUID } from "node:crypto";
import { createConnection } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";

const [url, name] = process.argv.slice(2);
const [, login, hosts] = url.replaceAll("nats://", "").match(/^(.*@)?(.*)$/); // tried in turn
const servers = hosts.split(",").map((host) => new URL(`nats://${login ?? ""}${host}`));
const API = "$JS.API.CONSUMER", STREAM = "rtaa-audio", SUBJECT = "rtaa.audio.*.*.*", BATCH = 100;
const highest = new Map(); // by call and run; drop old ones in a program that runs for long

async function* messages(socket) {
  let rest = Buffer.alloc(0);
  for await (const chunk of socket) {
    rest = Buffer.concat([rest, chunk]);
    for (let end; (end = rest.indexOf("\r\n") + 2) > 1; ) {
      const words = rest.toString("latin1", 0, end - 2).split(" "); // MSG subject id reply size
      const size = /MSG$/.test(words[0]) ? Number(words.at(-1)) + 2 : 0;
      if (rest.length < end + size) break;
      const body = rest.subarray(end, end + size - 2);
      const head = words[0] === "HMSG" ? Number(words.at(-2)) : 0;
      const status = head && body[8] === 32 ? body.toString("latin1", 9, 12) : ""; // NATS/1.0 404
      if (words[0] === "PING") socket.write("PONG\r\n");
      if (size) yield { subject: words[1], reply: words[3], status, data: body.subarray(head) };
      rest = rest.subarray(end + size);
    }
  }
  throw new Error("the server closed the connection");
}

function* entries(subject, data) {
  const key = subject.split(".").slice(2, 4).join("/").replaceAll("%2E", ".");
  const told = JSON.parse(data.subarray(0, data.indexOf("\n")));
  let { run } = told, at = data.indexOf("\n") + 1;
  for (const { id, type, seq: own, bytes } of told.entries) {
    const raw = data.subarray(at, (at += bytes)), value = type === "audio" ? raw : JSON.parse(raw);
    if (type === "started") run = value.run;
    const before = highest.get(`${key} ${run}`) ?? -1;
    const seq = type === "gap" ? value.first_missing + value.missing - 1 : (own ?? before);
    if (seq <= before && /audio|gap/.test(type)) continue; // the server got it a second time
    highest.set(`${key} ${run}`, seq);
    yield [key, run, id, type, seq, type === "audio" ? raw.toString("base64") : value];
  }
}

async function follow(socket, { username: user, password: pass }) {
  const inbox = `_INBOX.${randomUUID()}`; // of our own, where answers and messages come
  const came = messages(socket), next = async () => (await came.next()).value;
  const ask = (verb, asked, own = JSON.stringify(asked)) =>
    socket.write(`PUB ${API}.${verb}.${STREAM}.${name} ${inbox} ${own.length}\r\n${own}\r\n`);
  const answer = async (...asked) => (ask(...asked), JSON.parse((await next()).data));
  const options = { headers: true, no_responders: true, verbose: false, user, pass };
  socket.write(`CONNECT ${JSON.stringify(options)}\r\nSUB ${inbox} 1\r\n`);
  const { ack_floor } = await answer("INFO", {}); // continue after what was acknowledged, in order
  if (ack_floor) await answer("DELETE", {});
  const opt_start_seq = (ack_floor?.stream_seq ?? 0) + 1;
  const from = { deliver_policy: "by_start_sequence", opt_start_seq };
  const config = { ...from, durable_name: name, filter_subject: SUBJECT, ack_policy: "all" };
  await answer("DURABLE.CREATE", { stream_name: STREAM, config });
  for (let left = 0, last; ; ) {
    if (!left) ask("MSG.NEXT", { batch: (left = BATCH), expires: 1e9 });
    const message = await next();
    if (message.status && !/40[48]/.test(message.status)) throw new Error(message.status);
    if (!message.status) {
      for (const it of entries(message.subject, message.data)) console.log(JSON.stringify(it));
    }
    [left, last] = message.status ? [0, last] : [left - 1, message.reply];
    if (!left && last) last = void socket.write(`PUB ${last} 0\r\n\r\n`); // and all before it
  }
}

for (let turn = 0; ; turn++, await sleep(500)) {
  const server = servers[turn % servers.length];
  const socket = createConnection(server.port || 4222, server.hostname);
  socket.setTimeout(5_000, () => socket.destroy(new Error("no answer within 5 s")));
  await follow(socket, server).catch((problem) => console.error(problem.message));
  socket.destroy();
}
