/** One message on the page. A person's text is shown as it was typed; an answer is markdown. */
import { h, icon, iconButton } from "./dom.js";
import { formatRate, formatSeconds } from "./format.js";
import { highlightIn } from "./highlight.js";

import { MarkdownStream, renderDocument } from "./markdown_stream.js";
import { t } from "./strings.js";

/** @typedef {import("./chat_store.js").Message} Message */

/** After a render that took long, leave the thread free for this many times as long. */
const REST = 3;

export class MessageView {
  #stream = null;
  #frame = 0;
  #notBefore = 0;

  /**
   * @param {Message} message
   * @param {{queue: import("./idle_queue.js").IdleQueue, onRendered: (inFrame?: boolean) => void}}
   *   context
   */
  constructor(message, context) {
    this.message = message;
    this.context = context;
    const user = message.role === "user";
    this.body = h("div", { class: user ? "bubble" : "md", dir: "auto" });
    this.foot = h("div", { class: "message-foot" });
    this.node = h(
      "article",
      {
        class: `message ${message.role}`,
        "data-testid": `message-${message.role}`,
        "data-id": message.id,
      },
      h("h2", { class: "offscreen", text: t(user ? "you" : "assistant") }),
      this.body,
      this.foot,
    );
    if (user) this.body.textContent = message.text;
    this.#renderFoot();
  }

  /** Render a finished answer in slices. @returns {Generator<void>} */
  *render() {
    if (this.message.role === "user") return;
    this.body.replaceChildren();
    const onBlock = (node) => {
      highlightIn(node, this.context.queue);
      this.context.onRendered();
    };
    yield* renderDocument(this.message.text, this.body, onBlock);
  }

  /**
   * Follow a generation that is running.
   * @param {import("./generation.js").Generation} generation
   */
  follow(generation) {
    this.generation = generation;
    this.#stream = new MarkdownStream(this.body, (node) => highlightIn(node, this.context.queue));
    this.node.classList.add("streaming");
    this.node.setAttribute("aria-busy", "true");
    const drop = [
      generation.on("text", () => this.#schedule()),
      generation.on("end", () => this.#finish()),
    ];
    this.unfollow = () => drop.splice(0).forEach((fn) => fn());
    this.#showPhase();
    if (this.message.text) this.#schedule();
  }

  /** The view leaves the page: forget the generation, which goes on without it. */
  destroy() {
    this.unfollow?.();
    cancelAnimationFrame(this.#frame);
    this.node.remove();
  }

  /** At most one render per frame, and less often where a render is slow. */
  #schedule() {
    if (this.#frame) return;
    this.#frame = requestAnimationFrame((now) => {
      this.#frame = 0;
      if (now < this.#notBefore) return this.#schedule();
      const begun = performance.now();
      this.#showPhase();
      if (this.message.text) this.#stream.update(this.message.text);
      this.context.onRendered(true);
      const cost = performance.now() - begun;
      this.#notBefore = cost > 4 ? now + cost * REST : 0;
    });
  }

  #finish() {
    cancelAnimationFrame(this.#frame);
    this.#frame = 0;
    this.unfollow();
    this.generation = null;
    this.#stream.update(this.message.text);
    this.#stream.finish();
    this.#stream = null;
    this.waiting?.remove();
    this.node.classList.remove("streaming");
    this.node.removeAttribute("aria-busy");
    this.#renderFoot();
    this.context.onRendered();
  }

  /** Before the first token: what is being waited for. */
  #showPhase() {
    const { phase } = this.generation;
    if (this.message.text || phase === "ended") {
      this.waiting?.remove();
      this.waiting = null;
      return;
    }
    this.waiting ??= h(
      "p",
      { class: "waiting" },
      h("span", { class: "dots" }, h("i"), h("i"), h("i")),
      h("span"),
    );
    this.waiting.lastElementChild.textContent = t(phase === "waiting" ? "waiting" : "reading");
    if (!this.waiting.isConnected) this.body.before(this.waiting);
  }

  #renderFoot() {
    const { message } = this;
    this.foot.replaceChildren();
    if (message.state === "streaming") return;
    if (message.problem) this.foot.append(problemBox(message.problem, true));
    const row = h("div", { class: "message-actions" });
    if (message.text)
      row.append(
        iconButton("copy", t("copyMessage"), { class: "ghost", "data-action": "copy-message" }),
      );
    if (message.role === "assistant") {
      if (!message.problem)
        row.append(
          iconButton("retry", t("retry"), { class: "ghost retry", "data-action": "retry" }),
        );
      row.append(h("span", { class: "stats", "data-testid": "stats", text: statsText(message) }));
    }
    this.foot.append(row);
  }
}

/**
 * @param {Message} message
 * @returns {string} e.g. "42 tok/s · 0.31 s to first token · 128 tokens"
 */
export function statsText(message) {
  const { stats, state, finish, text } = message;
  const parts = [];
  if (stats?.tps) parts.push(formatRate(stats.tps));
  if (stats?.ttft_ms) parts.push(`${formatSeconds(stats.ttft_ms / 1000)} ${t("firstToken")}`);
  if (stats?.tokens) parts.push(`${stats.tokens} ${t(stats.tokens === 1 ? "token" : "tokens")}`);
  if (state === "stopped") parts.unshift(t(finish === "interrupted" ? "interrupted" : "stopped"));
  else if (finish === "length") parts.unshift(t("length"));
  else if (state === "done" && !text) parts.unshift(t("empty"));
  // No-break spaces: a narrow line breaks between the parts.
  return parts.map((part) => part.replaceAll(" ", "\u00a0")).join(" · ");
}

/**
 * An error as a person should see it: what happened, what to do, and the code for a report.
 * @param {import("./problem.js").Problem} problem
 * @param {boolean} retry whether a button to try again makes sense
 * @returns {HTMLElement}
 */
export function problemBox(problem, retry) {
  const button = retry
    ? h("button", {
        type: "button",
        class: "button small",
        "data-action": "retry",
        text: t("retry"),
      })
    : null;
  return h(
    "div",
    { class: "problem", role: "alert", "data-testid": "error" },
    icon("alert"),
    h(
      "div",
      { class: "problem-text" },
      h("p", { class: "problem-what", text: problem.message }),
      h("p", { text: problem.nextStep }),
      h("p", { class: "problem-foot" }, h("code", { text: problem.code }), button),
    ),
  );
}
