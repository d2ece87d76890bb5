/** A recording as the engine takes it: mono samples and their rate. */
import { jirdError } from "../errors.js";

const RATE = 16_000; // of the ears; the browser's decoder resamples to it

/**
 * @param {Blob|ArrayBuffer|ArrayBufferView|{samples: Float32Array, sampleRate: number}} file
 * @returns {Promise<{samples: Float32Array, sampleRate: number}>} channels averaged. Throws
 *   E_BAD_AUDIO, and E_BAD_REQUEST for what is no file.
 */
export async function samplesOf(file) {
  if (file?.samples instanceof Float32Array) {
    const { samples, sampleRate = RATE } = file;
    return { samples, sampleRate };
  }
  const bytes = await bytesOf(file);
  if (!globalThis.OfflineAudioContext) {
    throw jirdError("E_BAD_AUDIO", { detail: "this thread has no decoder; send { samples, sampleRate } from here" });
  }
  try {
    const decoded = await new OfflineAudioContext(1, 1, RATE).decodeAudioData(bytes);
    return { samples: mono(decoded), sampleRate: decoded.sampleRate };
  } catch (error) {
    throw jirdError("E_BAD_AUDIO", { detail: `the browser cannot decode it (${error.message || error.name})` });
  }
}

/** A copy, as decoding takes the buffer away. */
async function bytesOf(file) {
  if (file instanceof Blob) return file.arrayBuffer();
  if (file instanceof ArrayBuffer) return file.slice(0);
  if (ArrayBuffer.isView(file)) return file.buffer.slice(file.byteOffset, file.byteOffset + file.byteLength);
  const wanted = "a File or Blob, an ArrayBuffer, or { samples: Float32Array, sampleRate }";
  throw jirdError("E_BAD_REQUEST", { param: "file", got: typeof file, wanted });
}

/** @param {AudioBuffer} decoded */
function mono(decoded) {
  const { numberOfChannels: channels, length } = decoded;
  if (channels === 1) return decoded.getChannelData(0);
  const sum = new Float32Array(length);
  for (let c = 0; c < channels; c++) {
    const one = decoded.getChannelData(c);
    for (let i = 0; i < length; i++) sum[i] += one[i] / channels;
  }
  return sum;
}
