/**
 * The page's one engine: checks the browser, loads the model once, says how far it is, and starts
 * anew after a failure.
 * @typedef {"checking"|"idle"|"loading"|"ready"|"failed"} SessionState
 * @typedef {{stage: string, label?: string, bytes_done?: number, bytes_total?: number}} Progress
 *   bytes, or items where a stage moves no bytes; 0 when unknown
 */
import { Emitter } from "./dom.js";
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
  #loading = null;

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
    this.#loading ??= this.#load().catch((error) => {
      this.#loading = null;
      this.#set("failed", toProblem(error));
      throw error;
    });
    return this.#loading;
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

  async #load() {
    if (!(await this.check())) throw this.problem;
    this.#set("loading");
    const { createEngine } = await import("../../jird.js");
    const onProgress = (progress) => this.emit("progress", progress);
    const engine = await createEngine({ model: this.model.id, onProgress });
    rememberStarted();
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
