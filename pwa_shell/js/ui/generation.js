/**
 * One answer: waits for the engine, reads its stream into a message, measures, and saves at most
 * once a second, so that a reload loses no more than that.
 */
import { Emitter } from "./dom.js";
import { isAbort, toProblem } from "./problem.js";

const SAVE_EVERY_MS = 1000;

/** Emits `text` while the answer grows and `end` once. */
export class Generation extends Emitter {
  #abort = new AbortController();
  #saved = -Infinity; // the first text is saved at once: a reload must find it
  #firstAt = 0;
  #lastAt = 0;
  #tokens = null;
  #firstTokens = 1;

  /**
   * @param {import("./engine_session.js").EngineSession} session
   * @param {{sampling: object, maxTokens: number}} model
   * @param {import("./chat_store.js").Message} message receives the answer
   * @param {{role: string, content: string}[]} history
   * @param {() => Promise<void>} save writes the message
   */
  constructor(session, model, message, history, save) {
    super();
    Object.assign(this, { session, model, message, history });
    this.save = save;
    this.phase = "waiting";
  }

  /** Stop at once and keep what is there; the engine is told to stop, but is not waited for. */
  stop() {
    this.#abort.abort();
  }

  /** @returns {Promise<void>} never rejects: failures end in `message.problem` */
  async run() {
    const { signal } = this.#abort;
    const aborted = new Promise((_, reject) => {
      signal.addEventListener("abort", () => reject(new DOMException("Stopped", "AbortError")), {
        once: true,
      });
    });
    aborted.catch(() => {}); // no one may be waiting when it fires
    try {
      const engine = await Promise.race([this.session.ensure(), aborted]);
      this.phase = "reading";
      this.emit("text");
      await this.#read(engine, aborted);
      // An engine may end an aborted stream quietly instead of throwing.
      const stopped = signal.aborted || this.message.finish === "cancelled";
      this.message.state = stopped ? "stopped" : "done";
    } catch (error) {
      this.#fail(error);
    }
    await this.#end();
  }

  async #read(engine, aborted) {
    const { signal } = this.#abort;
    const begun = performance.now();
    const body = {
      model: this.model.id,
      messages: this.history,
      stream: true,
      max_tokens: this.model.maxTokens,
      stream_options: { include_usage: true, continuous_usage_stats: true },
      ...this.model.sampling,
    };
    const create = Promise.resolve(engine.chat.completions.create(body, { signal }));
    const stream = await Promise.race([create, aborted]);
    const chunks = stream[Symbol.asyncIterator]();
    for (;;) {
      const { value, done } = await Promise.race([chunks.next(), aborted]);
      if (done) break;
      this.#take(value, begun);
    }
    if (this.#tokens === null) await this.#askEngine(engine);
  }

  /** @param {any} chunk an OpenAI chat completion chunk */
  #take(chunk, begun) {
    const choice = chunk.choices?.[0];
    const piece = choice?.delta?.content ?? "";
    if (chunk.usage?.completion_tokens !== undefined) this.#tokens = chunk.usage.completion_tokens;
    if (choice?.finish_reason) this.message.finish = choice.finish_reason;
    if (!piece) return;
    this.phase = "streaming";
    this.message.text += piece;
    this.#measure(begun);
    this.emit("text");
    if (this.#lastAt - this.#saved >= SAVE_EVERY_MS) {
      this.#saved = this.#lastAt;
      this.save();
    }
  }

  /**
   * Time to first token is from the request to the first text; the rate is over the tokens after
   * that.
   */
  #measure(begun) {
    this.#lastAt = performance.now();
    if (!this.#firstAt) {
      this.#firstAt = this.#lastAt;
      this.#firstTokens = this.#tokens ?? 1;
    }
    const seconds = (this.#lastAt - this.#firstAt) / 1000;
    const after = (this.#tokens ?? 0) - this.#firstTokens;
    const tps = after > 0 && seconds > 0 ? after / seconds : null;
    this.message.stats = { tokens: this.#tokens, ttft_ms: this.#firstAt - begun, tps };
  }

  /** An engine that sends no usage still knows its own rate. */
  async #askEngine(engine) {
    const stats = await Promise.resolve(engine.stats?.()).catch(() => null);
    if (stats && this.message.stats) this.message.stats.tps = stats.decode_tps ?? null;
  }

  #fail(error) {
    if (isAbort(error) || this.#abort.signal.aborted) {
      this.message.state = "stopped";
      return;
    }
    this.message.state = "error";
    this.message.problem = toProblem(error);
    this.session.noteFailure(this.message.problem);
  }

  async #end() {
    this.phase = "ended";
    const saved = this.save();
    this.emit("end");
    await saved;
  }
}
