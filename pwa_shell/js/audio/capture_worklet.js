/**
 * The microphone's half on the audio thread: channels mixed into one, resampled, and posted in
 * frames of 20 ms. Posts {samples} (transferred).
 */
import { Resampler } from "./resampler.js";

/* global AudioWorkletProcessor, registerProcessor, sampleRate */
class Capture extends AudioWorkletProcessor {
  #resampler; #frame; #filled = 0; #live = true;

  constructor({ processorOptions: { rate, frame } }) {
    super();
    this.#resampler = new Resampler(sampleRate, rate);
    this.#frame = new Float32Array(frame);
    this.port.onmessage = () => (this.#live = false); // a processor that says true is never collected
  }

  process([channels]) {
    if (!this.#live) return false;
    if (!channels?.length) return true;
    const mono = channels.length === 1 ? channels[0] : this.#mix(channels);
    const samples = this.#resampler.push(mono);
    for (let at = 0; at < samples.length; ) {
      const part = samples.subarray(at, at + this.#frame.length - this.#filled);
      this.#frame.set(part, this.#filled);
      this.#filled += part.length;
      at += part.length;
      if (this.#filled === this.#frame.length) this.#post();
    }
    return true;
  }

  #post() {
    const samples = this.#frame.slice();
    this.port.postMessage({ samples }, [samples.buffer]);
    this.#filled = 0;
  }

  #mix(channels) {
    const mono = new Float32Array(channels[0].length);
    for (const channel of channels) channel.forEach((x, i) => (mono[i] += x / channels.length));
    return mono;
  }
}
registerProcessor("jird-capture", Capture);
