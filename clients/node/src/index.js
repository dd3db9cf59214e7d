export { Reader } from "./reader.js";
export { toWav } from "./wav.js";
export { Resampler } from "./samples.js";
