// WAV files: the header as the format has it, silence where frames are absent.
import assert from "node:assert/strict";
import { test } from "node:test";
import { toWav } from "rtaa-reader";

const pcm = { sample_rate: 8000, encoding: /** @type {const} */ ("pcm16"), channels: 1 };
const frame = (/** @type {number[]} */ ...bytes) => ({ type: /** @type {const} */ ("audio"), audio: Buffer.from(bytes) });
const gap = (/** @type {number} */ missing) => ({ type: /** @type {const} */ ("gap"), data: { missing } });

test("a gap is as long as its frames, also where it comes first", () => {
  const wav = toWav(pcm, [gap(1), frame(1, 2), gap(2), frame(3, 4, 5, 6), { type: "ended" }]);
  assert.equal(wav.toString("latin1", 0, 4) + wav.toString("latin1", 8, 16), "RIFFWAVEfmt ");
  assert.equal(wav.readUInt32LE(4), wav.length - 8);
  assert.equal(wav.readUInt32LE(40), 12);
  assert.deepEqual([...wav.subarray(44)], [0, 0, 1, 2, 0, 0, 0, 0, 3, 4, 5, 6]);
});

test("µ-law has its own header, silence and an even length", () => {
  const wav = toWav({ ...pcm, encoding: "mulaw" }, [frame(1), gap(1), frame(2)]);
  assert.equal(wav.readUInt16LE(20), 7);
  assert.equal(wav.toString("latin1", 38, 42), "fact");
  assert.deepEqual([...wav.subarray(-4)], [1, 0xff, 2, 0]);
  assert.equal(wav.length % 2, 0);
});
