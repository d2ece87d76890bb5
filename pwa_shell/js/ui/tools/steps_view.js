/** The tool calls of an answer: a card each, closed unless it asks something. */
import { h } from "../dom.js";
import { splitThought } from "../reasoning.js";
import { t } from "../strings.js";
import { decide, waits } from "./consent.js";
import { toolName } from "./tool_names.js";

const DECISIONS = [["once", "toolOnce"], ["always", "toolAlwaysRun"], ["refuse", "toolRefuse"],
  ["never", "toolNeverRun"]];

export class StepsView {
  #shown = "";

  constructor() {
    this.node = h("div", { class: "steps", hidden: true });
  }

  /** @param {import("../chat_store.js").Message & {steps?: any[], limited?: number}} message */
  update(message) {
    const steps = message.steps ?? [];
    const ended = message.state !== "streaming";
    const state = (call) => (ended && !call.result ? "stopped" : call.state);
    const told = (call) => [state(call), waits(call)];
    const key = steps.map(({ text, calls }) => [text.length, calls.map(told)]);
    const now = JSON.stringify([key, message.limited]);
    if (now === this.#shown) return;
    this.#shown = now;
    const opened = [...this.node.querySelectorAll("details[open]")];
    const open = new Set(opened.map((details) => details.dataset.call));
    this.node.hidden = !steps.length;
    this.node.replaceChildren(...steps.flatMap(({ text, calls }) => {
      const said = splitThought(text).answer.trim();
      const cards = calls.map((call) => card(call, state(call), open.has(call.id)));
      return said ? [h("p", { class: "step-text", dir: "auto", text: said }), ...cards] : cards;
    }));
    if (message.limited) {
      const text = t("toolLimit", { count: message.limited });
      this.node.append(h("p", { class: "tool-note", "data-testid": "tool-limit", text }));
    }
  }
}

function card(call, state, open) {
  const asking = waits(call);
  const name = toolName(call.name);
  const shown = asking ? "asking" : state;
  const label = h("span", { class: "tool-state", text: t(`toolState_${shown}`) });
  const parts = [part("toolArguments", readable(call.arguments))];
  if (call.result) parts.push(part("toolResult", call.result));
  const details = h(
    "details",
    { class: "tool", "data-call": call.id, open: asking || open },
    h("summary", {}, h("span", { class: "tool-name", text: name }), label),
    ...parts,
  );
  const props = { class: "tool-card", "data-testid": "tool-card", "data-state": shown };
  const note = { class: "tool-note", dir: "auto", text: call.result };
  const failure = state === "error" ? h("p", note) : null;
  return h("div", props, details, failure, asking ? question(call, name) : null);
}

function part(title, text) {
  const box = h("pre", { tabindex: "0", dir: "auto", text });
  return h("div", { class: "tool-part" }, h("p", { text: t(title) }), box);
}

function question(call, name) {
  const buttons = DECISIONS.map(([decision, key]) =>
    h("button", {
      type: "button",
      class: `button small ${decision === "once" ? "" : "plain"}`,
      "data-testid": `tool-${decision}`,
      text: t(key),
      on: { click: (event) => answer(event, call, decision) },
    }));
  const text = t("toolAsk", { name });
  return h("div", { class: "tool-ask", role: "group", "aria-label": text },
    h("p", { role: "alert", text }), h("div", { class: "tool-buttons" }, ...buttons));
}

/** The button goes away with the question, so the focus goes to the card. */
function answer(event, call, decision) {
  const box = event.target.closest(".steps");
  decide(call, decision);
  const summary = `[data-call="${CSS.escape(call.id)}"] summary`;
  requestAnimationFrame(() => box?.querySelector(summary)?.focus());
}

/** Arguments as a person reads them: a program is not one line of JSON. */
function readable(text) {
  try {
    const entries = Object.entries(JSON.parse(text || "{}"));
    return entries.map(([key, value]) =>
      `${key}: ${typeof value === "string" ? value : JSON.stringify(value)}`).join("\n") || "–";
  } catch {
    return text;
  }
}
