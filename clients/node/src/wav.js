/** WAV files of 16-bit PCM and µ-law, with silence where frames are missing. */

/** @typedef {import("../index.d.ts").Media} Media */

const PCM = 1, MULAW = 7;
const MAX_BYTES = 2 ** 32 - 1024;

/**
 * Return a WAV file of the audio among these events of one run, in order. A gap becomes silence: its
 * missing frames, each as long as the frame before, or after it where none is before.
 *
 * Throws a RangeError where the audio is longer than a WAV file can tell.
 * @param {Media} media
 * @param {Iterable<{ type: string, audio?: Uint8Array, data?: any }>} events
 * @returns {Buffer}
 */
export function toWav(media, events) {
  const isMulaw = media.encoding === "mulaw", width = isMulaw ? 1 : 2;
  const silence = isMulaw ? 0xff : 0;
  const pieces = [], waiting = [];
  let size = 0, frame = 0;
  const add = (/** @type {number} */ length, /** @type {() => Uint8Array} */ piece) => {
    size += length;
    if (size > MAX_BYTES) throw new RangeError("a WAV file holds at most 4 GiB");
    pieces.push(piece());
  };
  const pause = (/** @type {number} */ missing) =>
    add(missing * frame, () => Buffer.alloc(missing * frame, silence));
  for (const { type, audio, data } of events) {
    if (type === "gap" && frame) pause(data.missing);
    else if (type === "gap") waiting.push(data.missing);
    if (type !== "audio" || !audio) continue;
    frame = audio.length;
    waiting.splice(0).forEach(pause);
    add(audio.length, () => audio);
  }
  if (size % 2) pieces.push(Buffer.alloc(1));
  return Buffer.concat([header(media, isMulaw ? MULAW : PCM, width, size), ...pieces]);
}

/**
 * @param {Media} media
 * @param {number} format
 * @param {number} width
 * @param {number} size
 */
function header({ channels, sample_rate: rate }, format, width, size) {
  const fmt = Buffer.alloc(format === PCM ? 16 : 18);
  fmt.writeUInt16LE(format, 0);
  fmt.writeUInt16LE(channels, 2);
  fmt.writeUInt32LE(rate, 4);
  fmt.writeUInt32LE(rate * channels * width, 8);
  fmt.writeUInt16LE(channels * width, 12);
  fmt.writeUInt16LE(8 * width, 14);
  const fact = format === PCM ? [] : ["fact", uint32(4), uint32(size / (channels * width))];
  const chunks = ["WAVE", "fmt ", uint32(fmt.length), fmt, ...fact, "data", uint32(size)];
  const head = Buffer.concat(chunks.map((it) => (typeof it === "string" ? Buffer.from(it) : it)));
  return Buffer.concat([Buffer.from("RIFF"), uint32(head.length + size + (size % 2)), head]);
}

/** @param {number} value */
function uint32(value) {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}
