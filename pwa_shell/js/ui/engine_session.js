/**
 * The page's one engine: checks the browser, loads the model once, says how far it is, and starts
 * anew after a failure.
 * @typedef {"checking"|"idle"|"loading"|"ready"|"failed"} SessionState
 * @typedef {{stage: string, label?: string, bytes_done?: number, bytes_total?: number}} Progress
 *   bytes, or items where a stage moves no bytes; 0 when unknown
 */
import { Emitter } from "./dom.js";
import { noteError } from "./error_log.js";
import { findObstacle, isFatal, toProblem } from "./problem.js";

const STARTED_KEY = "jird.started";

/**
 * @returns {boolean} whether the model was loaded here before, so that loading again needs no
 *   question
 */
export function startedBefore() {
  try {
    return localStorage.getItem(STARTED_KEY) === "1";
  } catch {
    return false;
  }
}

/** The next visit asks before it loads. */
export function forgetStarted() {
  try {
    localStorage.removeItem(STARTED_KEY);
  } catch {
    // Then it was never remembered.
  }
}

function rememberStarted() {
  try {
    localStorage.setItem(STARTED_KEY, "1");
  } catch {
    // Without storage the person presses Start each time.
  }
}

/** Emits `state` (SessionState) and `progress` (Progress). */
export class EngineSession extends Emitter {
  /** @type {SessionState} */
  state = "checking";
  /** @type {import("./problem.js").Problem|null} */
  problem = null;
  /** What the loaded model says of itself: {context, defaults, ...}; null without one. */
  info = null;
  /** Tokens that a chat should hold; null: what fits. */
  context = null;
  /** Whether the model was let go while nobody looked, and is wanted again with the page. */
  resting = false;
  #loading = null;
  #ending = new AbortController();

  /** @param {{id: string}} model */
  constructor(model) {
    super();
    this.model = model;
  }

  /**
   * Look for obstacles before anything is downloaded.
   * @returns {Promise<boolean>} whether the engine can run
   */
  async check() {
    this.#set("checking");
    const obstacle = await findObstacle();
    this.#set(obstacle ? "failed" : "idle", obstacle);
    return !obstacle;
  }

  /**
   * @returns {Promise<any>} the engine, loading it first if need be; rejects with what
   *   `createEngine` threw
   */
  ensure() {
    if (this.#loading) return this.#loading;
    this.resting = false;
    const { signal } = (this.#ending = new AbortController());
    this.#loading = this.#load(signal).catch((error) => {
      if (signal.aborted) throw error; // another model was taken meanwhile
      this.#loading = null;
      this.#set("failed", toProblem(error));
      noteError("load", this.problem);
      throw error;
    });
    return this.#loading;
  }

  /** Give the memory back; chats and settings stay, and the next `ensure` loads again. */
  async rest() {
    if (this.state !== "ready") return;
    const loading = this.#loading;
    this.#loading = null;
    this.resting = true;
    this.#set("idle");
    const engine = await loading.catch(() => null);
    await Promise.resolve(engine?.unload?.()).catch(() => {});
  }

  /** Take another model: the one that is loaded, or loads, is let go. @param {{id: string}} model */
  async use(model) {
    const loading = this.#loading;
    this.#loading = null;
    this.#ending.abort(new DOMException("Another model was chosen.", "AbortError"));
    this.model = model;
    this.info = null;
    this.#set("idle");
    const engine = await loading?.catch(() => null);
    await Promise.resolve(engine?.unload?.()).catch(() => {});
  }

  /**
   * A generation failed: an engine that cannot go on is let go, so that the next `ensure` loads a
   * new one.
   */
  async noteFailure(problem) {
    if (!isFatal(problem) || !this.#loading) return;
    const engine = await this.#loading.catch(() => null);
    this.#loading = null;
    this.#set("idle");
    // It may be dead already, which is why we are here.
    await Promise.resolve(engine?.unload?.()).catch(() => {});
  }

  async #load(signal) {
    const { id } = this.model;
    if (!(await this.check())) throw this.problem;
    signal.throwIfAborted();
    this.#set("loading");
    const { createEngine } = await import("../../jird.js");
    signal.throwIfAborted();
    const onProgress = (progress) => !signal.aborted && this.emit("progress", progress);
    const context = this.context ?? undefined;
    const engine = await createEngine({ model: id, context, onProgress, signal });
    if (signal.aborted) {
      await engine.unload();
      signal.throwIfAborted();
    }
    rememberStarted();
    this.info = engine.info ?? null;
    this.#set("ready");
    return engine;
  }

  /** @param {SessionState} state @param {import("./problem.js").Problem|null} [problem] */
  #set(state, problem = null) {
    this.state = state;
    this.problem = problem;
    this.emit("state", state);
  }
}
