/**
 * When somebody speaks: WebRTC's voice activity detector (vendor/fvad.js) on each frame of 20 ms, a
 * floor that follows the room's noise, which the detector alone takes for speech, and rules of how
 * many frames make the begin and the end of speech.
 */
const ON = 5; // of the last ON_OF frames: 100 ms, short enough to interrupt in 200
const ON_OF = 6;
const QUIET = 35; // frames in a row, 700 ms: a pause for thought is shorter
const MODE = 2; // of 0 (lets most pass) to 3 (most doubtful)
const FIRST = 10; // frames that only tell how loud the room is
const OVER = 8; // decibels over the room's noise
const QUIETEST = -55; // decibels of full scale: nobody speaks so softly into a microphone
const RISE = 0.03; // decibels a frame: a fan that was switched on is the room's noise after seconds

/** @param {Float32Array} frame @returns {number} decibels of full scale */
function loudness(frame) {
  let sum = 0;
  for (const x of frame) sum += x * x;
  return 10 * Math.log10(sum / frame.length + 1e-10);
}

/** @param {any} module of fvad @param {number} size samples of a frame @returns frame -> boolean */
function detector(module, size) {
  const handle = module._fvad_new();
  if (!handle) throw new Error("The voice detector could not begin.");
  module._fvad_set_sample_rate(handle, 16_000);
  module._fvad_set_mode(handle, MODE);
  const at = module._malloc(2 * size);
  const voiced = (frame) => {
    for (let i = 0; i < size; i++) {
      const x = Math.max(-1, Math.min(1, frame[i]));
      module.setValue(at + 2 * i, Math.round(x * 32767), "i16");
    }
    return module._fvad_process(handle, at, size) === 1;
  };
  const free = () => {
    module._free(at);
    module._fvad_free(handle);
  };
  return { voiced, free };
}

export class VoiceActivity {
  #detector; #recent = []; #quiet = 0; #floor = 0; #count = 0;
  /** Whether somebody is speaking now. */
  speaking = false;

  /** @param {number} size samples of a frame, 160, 320 or 480 */
  static async create(size) {
    const { default: make } = await import("../../vendor/fvad.js"); // late: who types needs none
    return new VoiceActivity(detector(await make(), size));
  }

  constructor(found) {
    this.#detector = found;
  }

  /** @param {Float32Array} frame @returns {"begin"|"end"|null} what changed with it */
  push(frame) {
    const loud = this.#isLoud(frame);
    const voiced = this.#detector.voiced(frame) && loud;
    this.#recent = [...this.#recent.slice(1 - ON_OF), voiced];
    this.#quiet = voiced ? 0 : this.#quiet + 1;
    if (!this.speaking && this.#recent.filter(Boolean).length >= ON) {
      this.speaking = true;
      return "begin";
    }
    if (this.speaking && this.#quiet >= QUIET) {
      this.speaking = false;
      this.#recent = [];
      return "end";
    }
    return null;
  }

  #isLoud(frame) {
    const now = loudness(frame);
    this.#floor = Math.min(now, this.#floor + RISE);
    if (this.#count++ < FIRST) return false;
    return now > Math.max(this.#floor + OVER, QUIETEST);
  }

  /** Gives its memory back. */
  close() {
    this.#detector?.free();
    this.#detector = null;
  }
}
