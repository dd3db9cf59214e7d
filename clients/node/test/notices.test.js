// What is made of answers that brokers give seldom.
import assert from "node:assert/strict";
import { test } from "node:test";
import { Notices } from "../src/notices.js";

test("a notice of which Redis 6 has nothing left is left out", async () => {
  const over = [Buffer.from("5-0"), ["type", "ended"].map((it) => Buffer.from(it))];
  /** @type {unknown[][]} */
  const asked = [];
  const send = async (/** @type {unknown[]} */ ...words) => {
    asked.push(words);
    return words[0] === "XAUTOCLAIM" ? [Buffer.from("0-0"), [null, over]] : null;
  };
  const options = { prefix: "rtaa", group: "asr", worker: "one", lease: 2_000 };
  const leases = /** @type {any} */ ({ options, isAnother: async () => false });
  await new Notices(leases, /** @type {any} */ ({ number: 1, send })).followOnce();
  assert.deepEqual(asked[1], ["XACK", "rtaa:interactions", "asr", over[0]]);
});
