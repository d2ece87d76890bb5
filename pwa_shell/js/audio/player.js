/** Plays samples as they come, in order, on the audio thread. */
import { Emitter } from "../ui/dom.js";
import { Resampler } from "./resampler.js";

const SECONDS = 20; // in the ring; what is more waits here

/**
 * Emits `position` (seconds played since the last flush), `drained` when all of what was ended has
 * been heard, and `flushed`.
 */
export class Player extends Emitter {
  #context; #node; #capacity = 0; #waiting = []; #flushes = 0; #ending = false;
  #resamplers = new Map();
  #sent = 0; #played = 0; #base = 0; // samples since the beginning; `base` of them before the last flush

  /** Best called in a press of a button: browsers let no page make a sound unasked. */
  static async open() {
    const player = new Player();
    player.#context = new AudioContext({ latencyHint: "interactive" });
    try {
      await player.#context.audioWorklet.addModule(new URL("./playback_worklet.js", import.meta.url));
      player.#capacity = Math.round(SECONDS * player.#context.sampleRate);
      player.#node = new AudioWorkletNode(player.#context, "jird-playback", {
        numberOfInputs: 0, outputChannelCount: [1], processorOptions: { capacity: player.#capacity },
      });
      player.#node.port.onmessage = ({ data }) => player.#told(data);
      player.#node.connect(player.#context.destination);
      await player.#context.resume();
    } catch (error) {
      await player.close();
      throw error;
    }
    return player;
  }

  get rate() {
    return this.#context.sampleRate;
  }

  /** Seconds heard since the last flush. */
  get position() {
    return (this.#played - this.#base) / this.rate;
  }

  /** Seconds given since the last flush: when what comes next will be heard. */
  get end() {
    const waiting = this.#waiting.reduce((sum, { length }) => sum + length, 0);
    return ((this.#flushes ? 0 : this.#sent - this.#base) + waiting) / this.rate;
  }

  /** @param {Float32Array} samples @param {number} sampleRate */
  write(samples, sampleRate) {
    if (!this.#resamplers.has(sampleRate))
      this.#resamplers.set(sampleRate, new Resampler(sampleRate, this.rate));
    const block = this.#resamplers.get(sampleRate).push(samples);
    if (block.length) this.#waiting.push(block.slice());
    this.#send();
  }

  /** No more comes: `drained` follows when the last sample is heard. */
  finish() {
    for (const resampler of this.#resamplers.values()) this.#waiting.push(resampler.flush().slice());
    this.#ending = true;
    this.#send();
  }

  /** Silence now: what was given and not heard is dropped. */
  flush() {
    this.#waiting = [];
    this.#ending = false;
    for (const resampler of this.#resamplers.values()) resampler.reset();
    this.#flushes++;
    this.#node?.port.postMessage({ flush: true });
  }

  /** What fits into the ring; nothing while a flush, which would drop it, is on its way. */
  #send() {
    if (this.#flushes || !this.#node) return;
    for (let room; this.#waiting.length && (room = this.#capacity - (this.#sent - this.#played)) > 0; ) {
      const head = this.#waiting.shift();
      const part = head.slice(0, room);
      if (part.length < head.length) this.#waiting.unshift(head.subarray(part.length));
      this.#sent += part.length;
      this.#node.port.postMessage({ samples: part }, [part.buffer]);
    }
    if (!this.#ending || this.#waiting.length) return;
    this.#ending = false;
    this.#node.port.postMessage({ end: true });
  }

  #told({ played, drained, flushed }) {
    this.#played = played;
    if (flushed) {
      this.#flushes--;
      this.#sent = this.#base = played;
      this.emit("flushed");
    }
    this.emit("position", this.position);
    if (drained) this.emit("drained");
    this.#send();
  }

  /** Ends the sound and the audio thread. Idempotent. */
  async close() {
    this.#node?.port.postMessage({ close: true });
    this.#node?.disconnect();
    this.#node?.port.close();
    this.#node = null;
    if (this.#context.state !== "closed") await this.#context.close();
  }
}
