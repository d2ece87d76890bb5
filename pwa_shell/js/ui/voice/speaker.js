/** Speaks sentences one after the other while more come, and says which one is heard now. */
import { Player } from "../../audio/player.js";
import { Sentences } from "../../audio/sentences.js";
import { Emitter } from "../dom.js";
import { isAbort } from "../problem.js";
import { splitThought } from "../reasoning.js";
import { audioOf } from "./ears.js";
import { voiceSettings } from "./voice_settings.js";

const AHEAD = 60; // seconds of speech that may wait to be heard

/** Emits `caption` (the sentence that is heard), `failed` (error), and `end` once. */
export class Speaker extends Emitter {
  #ending = new AbortController(); #queue = []; #whole = false; #wake = () => {}; #marks = [];
  #player = null; #over = false;

  /** @param {import("../app.js").App} app */
  constructor(app) {
    super();
    this.app = app;
  }

  /** @param {string[]} sentences */
  say(sentences) {
    this.#queue.push(...sentences);
    this.#wake();
  }

  /** Say an answer while it is written. @param {import("../generation.js").Generation} run */
  follow(run) {
    const sentences = new Sentences();
    run.on("text", () => this.say(sentences.grow(splitThought(run.message.text).answer)));
    run.on("end", () => {
      this.say(sentences.end());
      this.finish();
    });
  }

  /** No more sentences come. */
  finish() {
    this.#whole = true;
    this.#wake();
  }

  /** Silence now. */
  stop() {
    this.#player?.flush();
    this.#ending.abort();
    this.#wake();
  }

  /** Speak; never rejects. @returns {Promise<void>} when all was heard, or was stopped */
  async run() {
    try {
      this.#player = await Player.open();
      this.#player.on("position", (at) => this.#position(at));
      const audio = await audioOf(this.app);
      for (let text; (text = await this.#next()) !== null; ) await this.#speak(audio, text);
      await this.#heard();
    } catch (error) {
      if (!isAbort(error) && !this.#ending.signal.aborted) this.emit("failed", error);
    } finally {
      await this.#flushed();
      await this.#player?.close();
      this.#over = true;
      this.emit("end");
    }
  }

  async #next() {
    const { signal } = this.#ending;
    while (!this.#queue.length && !this.#whole && !signal.aborted)
      await new Promise((resolve) => (this.#wake = resolve));
    signal.throwIfAborted();
    return this.#queue.shift() ?? null;
  }

  async #speak(audio, text) {
    const { signal } = this.#ending;
    const { speaker } = voiceSettings();
    const body = { input: text, response_format: "pcm", stream: true, ...(speaker ? { voice: speaker } : {}) };
    const stream = await audio.speech.create(body, { signal });
    const mark = { text, at: this.#player.end };
    this.#marks.push(mark);
    for await (const { samples, sampleRate } of stream) {
      signal.throwIfAborted();
      this.#player.write(samples, sampleRate);
      await this.#room();
    }
  }

  /** A voice is faster than speech: what waits to be heard is bounded. */
  async #room() {
    const { signal } = this.#ending;
    while (this.#player.end - this.#player.position > AHEAD && !signal.aborted)
      await new Promise((resolve) => {
        const off = this.#player.on("position", () => (off(), resolve()));
        this.#wake = resolve;
      });
  }

  async #heard() {
    const { signal } = this.#ending;
    const drained = new Promise((resolve) => this.#player.on("drained", resolve));
    const stopped = new Promise((resolve) => signal.addEventListener("abort", resolve));
    this.#player.finish();
    await Promise.race([drained, stopped]);
  }

  /** A closed context would cut the sound with a click, before its fade. */
  async #flushed() {
    if (!this.#player || !this.#ending.signal.aborted) return;
    const flushed = new Promise((resolve) => this.#player.on("flushed", resolve));
    this.#player.flush();
    await Promise.race([flushed, new Promise((resolve) => setTimeout(resolve, 100))]);
  }

  #position(at) {
    while (this.#marks.length && this.#marks[0].at <= at && !this.#over)
      this.emit("caption", this.#marks.shift().text);
  }
}
