// Samples for recognisers: decoded, mono, at one rate, whatever the frames.
import assert from "node:assert/strict";
import { test } from "node:test";
import { Resampler } from "rtaa-reader";

/** @param {object} media @param {Buffer[]} frames @param {number} rate */
function heard(media, frames, rate) {
  const call = { media: { channels: 1, encoding: "pcm16", ...media } };
  const resampler = new Resampler(rate);
  const feed = (/** @type {object} */ event) => resampler.feed(/** @type {any} */ ({ call, run: "r", ...event }));
  const pieces = [...frames.map((audio) => feed({ type: "audio", audio })), feed({ type: "ended" })];
  return pieces.flatMap((it) => [...it]);
}

/** @param {number} rate @param {number} hertz @param {number} count */
function tone(rate, hertz, count) {
  const samples = Array.from({ length: count }, (_, at) => 0.5 * Math.sin((2 * Math.PI * hertz * at) / rate));
  const audio = Buffer.alloc(2 * count);
  samples.forEach((it, at) => audio.writeInt16LE(Math.round(it * 32_768), 2 * at));
  return { samples, audio };
}

for (const from of [8_000, 24_000, 44_100, 16_000]) {
  const to = 16_000;
  test(`a tone keeps its pitch, place and level from ${from} to ${to}`, () => {
    const { audio } = tone(from, 1_000, from / 2), expected = tone(to, 1_000, to / 2).samples;
    const samples = heard({ sample_rate: from }, [audio], to);
    assert.equal(samples.length, to / 2);
    for (let at = 100; at < to / 2 - 100; at += 1) {
      assert.ok(Math.abs((samples[at] ?? 9) - (expected[at] ?? 0)) < 2e-3, `${at}: ${samples[at]} ${expected[at]}`);
    }
  });
}

test("how the audio is cut into frames changes nothing", () => {
  const { audio } = tone(8_000, 700, 1_000);
  const frames = [audio.subarray(0, 2), audio.subarray(2, 322), audio.subarray(322, 324), audio.subarray(324)];
  assert.deepEqual(heard({ sample_rate: 8_000 }, frames, 16_000), heard({ sample_rate: 8_000 }, [audio], 16_000));
});

test("what the lower rate cannot hold is filtered out", () => {
  const { audio } = tone(24_000, 10_000, 12_000);
  const loudest = Math.max(...heard({ sample_rate: 24_000 }, [audio], 16_000).slice(100, -100).map(Math.abs));
  assert.ok(loudest < 1e-3, `${loudest}`);
});

test("µ-law is decoded, and channels become one", () => {
  const mulaw = heard({ sample_rate: 8_000, encoding: "mulaw" }, [Buffer.from([0xff, 0x00, 0x80])], 8_000);
  assert.deepEqual(mulaw, [0, -32_124 / 32_768, 32_124 / 32_768]);
  const stereo = Buffer.alloc(4);
  stereo.writeInt16LE(16_384, 0);
  assert.deepEqual(heard({ sample_rate: 8_000, channels: 2 }, [stereo], 8_000), [0.25]);
});
