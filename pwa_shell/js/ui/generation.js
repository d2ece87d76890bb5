/**
 * One answer: waits for the engine, reads its stream into a message, measures, and saves at most
 * twice a second, so that a reload loses no more than that.
 */
import { Emitter } from "./dom.js";
import { noteError } from "./error_log.js";
import { isAbort, toProblem } from "./problem.js";

const SAVE_AT_MOST_MS = 2000;
const SAVE_EVERY_MS = 500;

const wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** Emits `text` while the answer grows and `end` once. */
export class Generation extends Emitter {
  #abort = new AbortController();
  #saved = -Infinity; // the first text is saved at once: a reload must find it
  #later = null;
  #firstAt = 0;
  #lastAt = 0;
  #tokens = null;
  #firstTokens = 1;
  #before = 0;
  #prompt = null;
  #thinking = null;

  /**
   * @param {import("./engine_session.js").EngineSession} session
   * @param {import("./chat_store.js").Message} message receives the answer; text that it has
   *   already is continued
   * @param {Record<string, any>} body the request: model, messages, parameters
   * @param {() => Promise<void>} save writes the message
   */
  constructor(session, message, body, save) {
    super();
    Object.assign(this, { session, message, body });
    /** @type {import("./tools/agent_loop.js").AgentLoop|null} */
    this.agent = null;
    this.save = save;
    this.phase = "waiting";
    this.#before = message.text ? (message.stats?.tokens ?? 0) : 0;
    this.#thinking = message.stats?.think_ms ?? null;
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
      do {
        this.phase = "reading";
        this.emit("text");
        await this.#read(engine, aborted);
      } while (await this.agent?.next(this, signal));
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
      ...(this.agent?.body(this.body) ?? this.body),
      stream: true,
      stream_options: { include_usage: true, continuous_usage_stats: true },
    };
    if (this.message.text) body.continue_final_message = true;
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
    this.agent?.take(choice);
    if (chunk.usage?.completion_tokens !== undefined) this.#tokens = chunk.usage.completion_tokens;
    if (chunk.usage?.prompt_tokens) this.#prompt = chunk.usage.prompt_tokens;
    if (chunk.timings && this.message.stats)
      this.message.stats.prefill_tps = chunk.timings.prefill_tps ?? null;
    if (choice?.finish_reason) this.message.finish = choice.finish_reason;
    if (!piece) return;
    this.phase = "streaming";
    this.message.text += piece;
    this.#measure(begun);
    this.emit("text");
    const rest = this.#saved + SAVE_EVERY_MS - this.#lastAt;
    if (rest <= 0) this.#keep();
    else this.#later ??= setTimeout(() => this.#keep(), rest); // maybe no more text comes
  }

  #keep() {
    clearTimeout(this.#later);
    this.#later = null;
    this.#saved = performance.now();
    this.save();
  }

  /**
   * Time to first token is from the request to the first text; the rate is over the tokens after
   * that. The tokens of a text that is continued count as part of the answer, not of its prompt.
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
    const tokens = this.#tokens === null ? null : this.#tokens + this.#before;
    this.#thinking ??= this.message.text.includes("</think>") ? this.#lastAt - begun : null;
    this.message.stats = {
      tokens,
      ttft_ms: this.#firstAt - begun,
      tps,
      prompt_tokens: this.#prompt === null ? null : this.#prompt - this.#before,
      think_ms: this.#thinking,
    };
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
    noteError("answer", this.message.problem);
    this.session.noteFailure(this.message.problem);
  }

  async #end() {
    this.phase = "ended";
    clearTimeout(this.#later);
    const saved = this.save();
    // What is shown as finished survives the browser's end. A stop is shown at once, and a disk that
    // hangs keeps nobody for long.
    if (this.message.state !== "stopped") await Promise.race([saved, wait(SAVE_AT_MOST_MS)]);
    this.emit("end");
    await saved;
  }
}
