/**
 * One answer that may call tools: each round of calls becomes a step of the message, and the model
 * is asked again with the results, up to a limit.
 * @typedef {{id: string, name: string, arguments: string, result?: string, state:
 *   "asking"|"running"|"done"|"error"|"refused"|"stopped"}} StepCall
 * @typedef {{text: string, calls: StepCall[]}} Step
 */
import { CallCollector, described, failed, roundMessages, runCall } from "../../tools/calls.js";
import { splitThought } from "../reasoning.js";
import { ask, consentOf, keepConsent } from "./consent.js";

const MAX_STEPS = 8;
const REFUSED = "the person refused this call";

/** @param {{steps?: Step[]}} message @returns {any[]} its calls and results, for a request */
export function stepMessages(message) {
  return (message.steps ?? []).flatMap(({ text, calls }) =>
    roundMessages(splitThought(text).answer, calls));
}

export class AgentLoop {
  #collector = new CallCollector();
  #kept = 0; // steps that the request has already, of an answer that is continued

  /**
   * @param {Map<string, import("../../tools/calls.js").Tool>} tools those that the model may call
   * @param {any} chat whose consents count and are changed
   * @param {{steps?: Step[], text: string}} message
   * @param {() => void} onConsent saves the chat
   */
  constructor(tools, chat, message, onConsent) {
    Object.assign(this, { tools, chat, message, onConsent });
    this.#kept = message.steps?.length ?? 0;
    this.begun = message.text;
  }

  /** The request of the next round. @param {any} base of the first */
  body(base) {
    const all = this.message.steps ?? [];
    const messages = [...base.messages];
    // what was there of the answer is part of the first new step
    if (all.length > this.#kept && this.begun) messages.pop();
    messages.push(...stepMessages({ steps: all.slice(this.#kept) }));
    const body = { ...base, messages, tools: [...this.tools.values()].map(described) };
    if (all.length - this.#kept >= MAX_STEPS) body.tool_choice = "none";
    return body;
  }

  /** @param {any} choice of a chunk */
  take(choice) {
    this.#collector.take(choice?.delta?.tool_calls);
  }

  /**
   * Run what was called. @returns {Promise<boolean>} whether the model must be asked again
   * @param {import("../generation.js").Generation} run
   * @param {AbortSignal} signal
   */
  async next(run, signal) {
    const calls = this.#collector.calls.filter(Boolean);
    this.#collector = new CallCollector();
    if (!calls.length || signal.aborted) return false;
    const { message } = this;
    for (const call of calls) call.state = "running";
    message.steps = [...(message.steps ?? []), { text: message.text, calls }];
    message.text = "";
    run.phase = "streaming";
    const show = () => {
      run.emit("text");
      run.save();
    };
    try {
      for (const call of calls) await this.#perform(call, signal, show);
    } catch (error) {
      for (const call of calls) if (!call.result) call.state = "stopped";
      throw error;
    } finally {
      show();
    }
    if (message.steps.length - this.#kept >= MAX_STEPS) message.limited = MAX_STEPS;
    return true;
  }

  async #perform(call, signal, show) {
    const tool = this.tools.get(call.name);
    const allowed = !tool || (await this.#allowed(call, tool, signal, show));
    call.state = "running";
    show();
    const { ok, content } = allowed ? await runCall(this.tools, call, signal) : failed(REFUSED);
    call.result = content;
    call.state = !allowed ? "refused" : ok ? "done" : "error";
    show();
  }

  async #allowed(call, tool, signal, show) {
    const consent = consentOf(this.chat, tool);
    if (consent !== "ask") return consent === "always";
    call.state = "asking";
    const decided = ask(call, signal);
    show();
    const decision = await decided;
    if (decision === "always" || decision === "never") {
      keepConsent(this.chat, tool.name, decision);
      this.onConsent();
    }
    return decision === "once" || decision === "always";
  }
}
