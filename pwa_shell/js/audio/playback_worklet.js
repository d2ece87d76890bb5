/**
 * The loudspeaker's half on the audio thread: a ring of samples. Where it runs dry it fades to
 * silence and goes on with what comes later; a flush is silent with the next block of 128 samples.
 * Posts {played} about 20 times a second, {played, flushed} at once, {played, drained} once after
 * `end`; `played` counts samples since the beginning.
 */

/* global AudioWorkletProcessor, registerProcessor, sampleRate */
const FADE = 64; // samples: shorter is heard as a click
const REPORT = 0.05; // seconds between reports

class Playback extends AudioWorkletProcessor {
  #ring; #read = 0; #count = 0; #played = 0; #ending = false; #live = true; #gain = 0; #since = 0; #last = 0;

  constructor({ processorOptions: { capacity } }) {
    super();
    this.#ring = new Float32Array(capacity);
    this.port.onmessage = ({ data }) => this.#told(data);
  }

  #told({ samples, end, flush, close }) {
    if (samples) this.#write(samples);
    if (end) this.#ending = true;
    if (flush) {
      this.#count = 0;
      this.#ending = false;
      this.#report({ flushed: true });
    }
    if (close) this.#live = false;
  }

  #write(samples) {
    const size = this.#ring.length;
    if (samples.length > size - this.#count) throw new RangeError("more samples than there is room");
    const at = (this.#read + this.#count) % size;
    const first = samples.subarray(0, size - at);
    this.#ring.set(first, at);
    this.#ring.set(samples.subarray(first.length), 0);
    this.#count += samples.length;
  }

  process(_, [[out]]) {
    const ready = Math.min(this.#count, out.length);
    for (let i = 0; i < ready; i++) {
      this.#gain = Math.min(1, this.#gain + 1 / FADE);
      this.#last = this.#ring[this.#read] * this.#gain;
      out[i] = this.#last;
      this.#read = (this.#read + 1) % this.#ring.length;
    }
    for (let i = ready; i < out.length; i++) {
      this.#gain = Math.max(0, this.#gain - 1 / FADE);
      out[i] = this.#last * this.#gain;
    }
    this.#count -= ready;
    this.#played += ready;
    this.#since += out.length;
    const done = this.#ending && !this.#count;
    if (done || this.#since >= REPORT * sampleRate) this.#report(done ? { drained: true } : {});
    if (done) this.#ending = false;
    return this.#live;
  }

  #report(more) {
    this.#since = 0;
    this.port.postMessage({ played: this.#played, ...more });
  }
}
registerProcessor("jird-playback", Playback);
