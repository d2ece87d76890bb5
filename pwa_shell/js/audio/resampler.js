/**
 * Samples from one rate to another, a block at a time: a windowed-sinc low-pass in polyphase form
 * (Smith, "Digital Audio Resampling"). What is taken over from block to block makes the blocks'
 * results those of the whole.
 */
const CROSSINGS = 16; // zero crossings on each side: 80 dB of stop band with this window
const BETA = 8; // of the Kaiser window
const ROLLOFF = 0.94; // of the lower Nyquist frequency: where the pass band ends
const MAX_PHASES = 1024; // rates without a small common part take the nearest of these

/** I0, the Bessel function of the Kaiser window. */
function bessel(x) {
  let sum = 1;
  for (let k = 1, term = 1; term > 1e-12 * sum; k++) sum += term *= (x / (2 * k)) ** 2;
  return sum;
}

const gcd = (a, b) => (b ? gcd(b, a % b) : a);

export class Resampler {
  #history; #at = 0; #step; #phases; #half; #taps; #table;

  /** @param {number} from samples per second that come @param {number} to those that go */
  constructor(from, to) {
    if (!(from > 0 && to > 0)) throw new RangeError(`rates ${from} and ${to}`);
    this.same = from === to;
    const cutoff = Math.min(1, to / from) * ROLLOFF;
    this.#step = from / to;
    this.#phases = Math.min(to / gcd(Math.round(from), Math.round(to)), MAX_PHASES);
    this.#half = Math.ceil(CROSSINGS / cutoff);
    this.#taps = 2 * this.#half;
    this.#table = this.#filters(cutoff);
    this.reset();
  }

  #filters(cutoff) {
    const table = new Float32Array(this.#phases * this.#taps);
    for (let phase = 0; phase < this.#phases; phase++) {
      const row = table.subarray(phase * this.#taps, (phase + 1) * this.#taps);
      let sum = 0;
      for (let i = 0; i < this.#taps; i++) {
        const x = i - this.#half + 1 - phase / this.#phases;
        const angle = Math.PI * cutoff * x;
        const edge = Math.min(1, Math.abs(x) / this.#half);
        const window = bessel(BETA * Math.sqrt(1 - edge * edge)) / bessel(BETA);
        row[i] = (x ? Math.sin(angle) / angle : 1) * window;
        sum += row[i];
      }
      for (let i = 0; i < this.#taps; i++) row[i] /= sum; // a constant stays what it is
    }
    return table;
  }

  /** Forget what came: the next block begins another recording. */
  reset() {
    this.#history = new Float32Array(this.#half - 1);
    this.#at = 0;
  }

  /** @param {Float32Array} block @returns {Float32Array} what it completes */
  push(block) {
    if (this.same) return block;
    const input = new Float32Array(this.#history.length + block.length);
    input.set(this.#history);
    input.set(block, this.#history.length);
    const most = Math.ceil((input.length - this.#taps + 1 - this.#at) / this.#step) + 1;
    const out = new Float32Array(Math.max(0, most));
    let count = 0;
    for (; ; count++) {
      const position = this.#at + count * this.#step;
      let base = Math.floor(position + 1e-9);
      let phase = Math.round((position - base) * this.#phases);
      if (phase === this.#phases) [base, phase] = [base + 1, 0];
      if (base + this.#taps > input.length) break;
      const row = phase * this.#taps;
      let sum = 0;
      for (let i = 0; i < this.#taps; i++) sum += input[base + i] * this.#table[row + i];
      out[count] = sum;
    }
    const next = this.#at + count * this.#step;
    const used = Math.min(Math.floor(next + 1e-9), input.length);
    this.#at = next - used;
    this.#history = input.slice(used);
    return out.subarray(0, count);
  }

  /** The rest of a recording, for which the filter still waited. @returns {Float32Array} */
  flush() {
    if (this.same) return new Float32Array(0);
    const rest = this.push(new Float32Array(this.#half));
    this.reset();
    return rest;
  }
}
