/** Progress of the loading stages: pure bookkeeping, so that it can be tested without a page. */
import { t } from "./strings.js";

/** The loading stages, in the order in which they are listed. */
const STAGES = ["boot", "read", "upload", "compile"];

/** Weight of the newest measurement in the smoothed rate. */
const NEWEST = 0.3;
const MIN_STEP_MS = 100;
/**
 * `bytes_total` also counts items (shaders, packages) where a stage moves no bytes; those are
 * always fewer.
 */
const MIN_BYTES = 10_000;

/**
 * @typedef {{id: string, name: string, state: "pending"|"active"|"done", done: number, total:
 *   number, unit: "bytes"|"steps", rate: number, eta: number, begun: number, ended: number}} Stage
 *   rate in units per second, eta in seconds (NaN while unknown), times in ms
 */

export class ProgressMeter {
  /** @type {Stage[]} */
  stages = STAGES.map(newStage);

  /**
   * Stages may overlap and come in any order; one that is not in the list is added, so that nothing
   * is hidden.
   * @param {import("./engine_session.js").Progress} progress
   * @param {number} now ms
   */
  note({ stage: id, bytes_done: done = 0, bytes_total: total = 0 }, now) {
    if (id === "ready") return this.stages.forEach((stage) => finish(stage, now));
    let at = this.stages.findIndex((stage) => stage.id === id);
    if (at < 0) {
      at = Math.max(
        1,
        this.stages.findIndex((stage) => stage.state === "pending"),
      );
      this.stages.splice(at, 0, newStage(id));
    }
    // One that never said how long it is has ended when a later one begins; others may overlap.
    for (const earlier of this.stages.slice(0, at)) {
      if (earlier.state === "active" && !earlier.total) finish(earlier, now);
    }
    const stage = this.stages[at];
    if (stage.state === "pending")
      Object.assign(stage, { state: "active", begun: now, markAt: now, markDone: done });
    Object.assign(stage, { done, total, unit: total > MIN_BYTES ? "bytes" : "steps" });
    measure(stage, now);
    if (total > 0 && done >= total) finish(stage, now);
  }

  /**
   * The stage to show where there is room for one: the first that is under way.
   * @returns {Stage|undefined}
   */
  current() {
    return (
      this.stages.find((stage) => stage.state === "active") ??
      this.stages.find((stage) => stage.state === "pending")
    );
  }

  /** @returns {number} 0..1; every stage counts the same, which is rough but never goes back */
  fraction() {
    const parts = this.stages.map((s) =>
      s.state === "done" ? 1 : s.total > 0 ? Math.min(1, s.done / s.total) : 0,
    );
    return parts.reduce((a, b) => a + b, 0) / parts.length;
  }
}

function newStage(id) {
  return {
    id,
    name: t(`stage_${id}`) ?? id,
    state: "pending",
    done: 0,
    total: 0,
    unit: "steps",
    rate: 0,
    eta: NaN,
    begun: 0,
    ended: 0,
  };
}

function finish(stage, now) {
  if (stage.state !== "done")
    Object.assign(stage, { state: "done", begun: stage.begun || now, ended: now });
}

function measure(stage, now) {
  const ms = now - stage.markAt;
  if (ms < MIN_STEP_MS) return;
  const rate = ((stage.done - stage.markDone) / ms) * 1000;
  stage.rate = stage.rate ? stage.rate * (1 - NEWEST) + rate * NEWEST : rate;
  stage.eta = stage.rate > 0 ? (stage.total - stage.done) / stage.rate : NaN;
  Object.assign(stage, { markAt: now, markDone: stage.done });
}
