/** Samples as recognisers take them: mono, 32-bit float between -1 and 1, at one sample rate. */

/**
 * @typedef {import("../index.d.ts").Event} Event
 * @typedef {import("../index.d.ts").Call} Call
 * @typedef {import("../index.d.ts").Media} Media
 * @typedef {Pick<Media, "sample_rate" | "encoding" | "channels">} Format
 */

const FULL_SCALE = 32_768;
/** Of the filter to either side, in samples of the lower rate. */
const ZERO_CROSSINGS = 24;
/** Of the lower rate's band, what is passed. */
const PASSED = 0.94;
const NONE = new Float32Array();

const MULAW = Float32Array.from({ length: 256 }, (_, byte) => {
  const bits = ~byte & 0xff, size = (((bits & 15) << 3) + 132) << ((bits & 112) >> 4);
  return (bits & 128 ? 132 - size : size - 132) / FULL_SCALE;
});

export class Resampler {
  /** @type {WeakMap<object, { run: string, filter: Filter, format: Format }>} */
  #runs = new WeakMap();
  #rate;

  /** @param {number} [sampleRate] */
  constructor(sampleRate = 16_000) {
    this.#rate = sampleRate;
  }

  /**
   * @param {Event} event
   * @returns {Float32Array}
   */
  feed(event) {
    const { call, run } = event;
    let known = this.#runs.get(call);
    if (known?.run !== run) known = undefined;
    if (event.type === "ended") this.#runs.delete(call);
    if (event.type === "ended" && known) return known.filter.end();
    if (event.type !== "audio" || !call.media) return NONE;
    if (!known) {
      const format = call.media, filter = new Filter(format.sample_rate, this.#rate);
      this.#runs.set(call, (known = { run, filter, format }));
    }
    return known.filter.feed(decoded(known.format, event.audio));
  }
}

/**
 * @param {Format} format
 * @param {Buffer} audio
 */
function decoded({ encoding, channels }, audio) {
  const isMulaw = encoding === "mulaw", width = isMulaw ? 1 : 2;
  const samples = new Float32Array(Math.floor(audio.length / width / channels));
  for (let at = 0; at < samples.length * channels; at += 1) {
    const value = isMulaw ? (MULAW[audio[at] ?? 0] ?? 0) : audio.readInt16LE(2 * at) / FULL_SCALE;
    const place = Math.floor(at / channels);
    samples[place] = (samples[place] ?? 0) + value / channels;
  }
  return samples;
}

/** A low-pass filter and its samples at another rate: a sinc under a Blackman window. */
class Filter {
  #up;
  #down;
  #reach;
  #taps;
  /** Input that is still needed. */
  #held;
  /** How many samples came before `#held`, went in and came out. */
  #before;
  #taken = 0;
  #given = 0;

  /**
   * @param {number} from
   * @param {number} to
   */
  constructor(from, to) {
    const divisor = common(from, to), band = Math.min(1, to / from);
    this.#up = to / divisor;
    this.#down = from / divisor;
    this.#reach = from === to ? 0 : Math.ceil(ZERO_CROSSINGS / band);
    this.#held = new Float32Array(this.#reach); // silence before the first sample
    this.#before = -this.#reach;
    this.#taps = tapsOf(this.#up, this.#reach, band * PASSED);
  }

  /** @param {Float32Array} samples */
  feed(samples) {
    this.#taken += samples.length;
    return this.#next(samples, this.#taken - this.#reach);
  }

  end() {
    return this.#next(new Float32Array(this.#reach), this.#taken);
  }

  /**
   * @param {Float32Array} samples
   * @param {number} until what comes out lies before this place of the input
   */
  #next(samples, until) {
    const input = new Float32Array(this.#held.length + samples.length);
    input.set(this.#held);
    input.set(samples, this.#held.length);
    const width = 2 * this.#reach + 1;
    const count = Math.max(0, Math.ceil((until * this.#up) / this.#down) - this.#given);
    const output = new Float32Array(count);
    for (let at = 0; at < count; at += 1) {
      const place = (this.#given + at) * this.#down, phase = place % this.#up;
      const first = Math.floor(place / this.#up) - this.#reach - this.#before;
      let sum = 0;
      for (let tap = 0; tap < width; tap += 1) {
        sum += (input[first + tap] ?? 0) * (this.#taps[phase * width + tap] ?? 0);
      }
      output[at] = sum;
    }
    this.#given += count;
    const needed = Math.floor((this.#given * this.#down) / this.#up) - this.#reach;
    this.#held = input.slice(needed - this.#before);
    this.#before = needed;
    return output;
  }
}

/**
 * @param {number} phases
 * @param {number} reach
 * @param {number} band
 */
function tapsOf(phases, reach, band) {
  const width = 2 * reach + 1, taps = new Float32Array(phases * width);
  for (let phase = 0; phase < phases; phase += 1) {
    const row = taps.subarray(phase * width, (phase + 1) * width);
    for (let tap = 0; tap < width; tap += 1) {
      const x = tap - reach - phase / phases, turn = (Math.PI * x) / (reach + 1);
      const sinc = x === 0 ? 1 : Math.sin(Math.PI * band * x) / (Math.PI * band * x);
      row[tap] = reach ? sinc * (0.42 + 0.5 * Math.cos(turn) + 0.08 * Math.cos(2 * turn)) : 1;
    }
    const sum = row.reduce((total, value) => total + value, 0);
    row.forEach((value, tap) => (row[tap] = value / sum));
  }
  return taps;
}

/**
 * @param {number} one
 * @param {number} two
 * @returns {number} their greatest common divisor
 */
function common(one, two) {
  return two ? common(two, one % two) : one;
}
