/** Samples as bytes: 16-bit mono, little endian, as WAV files and OpenAI's "pcm" have them. */

const HEADER = 44;

/** @param {Float32Array} samples within -1 .. 1 @returns {Uint8Array} two bytes a sample */
export function pcm16(samples) {
  const view = new DataView(new ArrayBuffer(2 * samples.length));
  samples.forEach((value, i) => {
    view.setInt16(2 * i, Math.round(Math.min(1, Math.max(-1, value)) * 32767), true);
  });
  return new Uint8Array(view.buffer);
}

/**
 * The 44 bytes before `nbytes` of samples at `rate` a second; without `nbytes` a file that goes on to
 * its end.
 */
export function wavHeader(rate, nbytes = 0xffffffff - HEADER) {
  const view = new DataView(new ArrayBuffer(HEADER));
  const text = (at, value) => [...value].forEach((c, i) => view.setUint8(at + i, c.charCodeAt(0)));
  text(0, "RIFF");
  view.setUint32(4, nbytes + HEADER - 8, true);
  text(8, "WAVEfmt ");
  view.setUint32(16, 16, true);
  view.setUint16(20, 1, true); // PCM
  view.setUint16(22, 1, true); // one channel
  view.setUint32(24, rate, true);
  view.setUint32(28, 2 * rate, true);
  view.setUint16(32, 2, true);
  view.setUint16(34, 16, true);
  text(36, "data");
  view.setUint32(40, nbytes, true);
  return new Uint8Array(view.buffer);
}

/** A whole WAV file. */
export function wavFile(samples, rate) {
  const data = pcm16(samples);
  const file = new Uint8Array(HEADER + data.length);
  file.set(wavHeader(rate, data.length));
  file.set(data, HEADER);
  return file;
}
