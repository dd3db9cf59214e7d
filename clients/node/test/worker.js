// A worker whose output a test judges: node test/worker.js URL GROUP WORKER [LEASE_MS SETTLE_MS]
// Lines of JSON, [key, run, id, type, seq, data], audio in base64. Each call begins with the line
// [key, "", id, "open", -1, fence]: what an earlier owner printed after that id does not count.
import { writeSync } from "node:fs";
import { Reader } from "rtaa-reader";

const [url = "", group = "", worker, lease = "2000", settle = "1000"] = process.argv.slice(2);
const reader = await Reader.join({ url, group, worker, lease: +lease, settle: +settle });
process.once("SIGTERM", () => reader.close());
const print = (/** @type {unknown[]} */ ...line) => writeSync(1, `${JSON.stringify(line)}\n`);
await reader.run(async (call) => {
  print(call.key, "", call.position.entry, "open", -1, call.fence);
  for await (const event of call) {
    const data = event.type === "audio" ? event.audio.toString("base64") : event.data;
    print(call.key, event.run, event.id, event.type, event.seq, data);
  }
});
