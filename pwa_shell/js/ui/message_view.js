/** One message on the page. A person's text is shown as it was typed; an answer is markdown. */
import { h } from "./dom.js";
import { editBox } from "./edit_box.js";
import { fileChips } from "./file_chips.js";
import { highlightIn } from "./highlight.js";
import { typesetIn } from "./math.js";
import { MarkdownStream, renderDocument } from "./markdown_stream.js";
import { elsewhereRow, footRow, problemBox } from "./message_foot.js";
import { splitThought } from "./reasoning.js";
import { t } from "./strings.js";
import { ThoughtView } from "./thought_view.js";
import { StepsView } from "./tools/steps_view.js";

/** @typedef {import("./chat_store.js").Message} Message */

/** After a render that took long, leave the thread free for this many times as long. */
const REST = 3;
/** A longer question is cut on the page; the model reads it whole. */
const SHOWN_CHARS = 20_000;

export class MessageView {
  #stream = null;
  #frame = 0;
  #notBefore = 0;
  #shown = "";
  #gone = false;

  /**
   * @param {Message} message
   * @param {{queue: import("./idle_queue.js").IdleQueue, onRendered: (inFrame?: boolean) => void,
   *   place: (message: Message) => {index: number, all: Message[]}}} context
   */
  constructor(message, context) {
    this.message = message;
    this.context = context;
    const user = message.role === "user";
    /** Whether the node has its full height. */
    this.ready = user;
    this.body = h("div", { class: user ? "bubble" : "md", dir: "auto" });
    this.foot = h("div", { class: "message-foot" });
    this.thought = user ? null : new ThoughtView();
    this.steps = user ? null : new StepsView();
    this.node = h(
      "article",
      {
        class: `message ${message.role}`,
        "data-testid": `message-${message.role}`,
        "data-id": message.id,
      },
      h("h2", { class: "offscreen", text: t(user ? "you" : "assistant") }),
      user ? fileChips(message.files ?? []) : this.steps.node,
      user ? null : this.thought.node,
      this.body,
      this.foot,
    );
    if (user) this.#showQuestion();
    this.renderFoot();
  }

  #showQuestion() {
    const { text } = this.message;
    this.body.textContent = text.slice(0, SHOWN_CHARS);
    if (text.length > SHOWN_CHARS) this.body.append(h("em", { text: ` ${t("cutHere")}` }));
    this.body.hidden = !text;
  }

  /** Render a finished answer in slices. @returns {Generator<void>} */
  *render() {
    if (this.message.role === "user" || this.#gone) return;
    this.body.replaceChildren();
    const onBlock = (node) => {
      this.#finishBlock(node);
      this.context.onRendered();
    };
    const { thought, answer } = splitThought(this.message.text);
    this.thought.update(thought, false, this.message.stats?.think_ms);
    this.steps.update(this.message);
    for (const _ of renderDocument(answer, this.body, onBlock)) {
      yield;
      if (this.#gone) return;
    }
    this.#settle();
  }

  /** What waits for a library: the colours of code, formulas. @param {HTMLElement} node */
  #finishBlock(node) {
    highlightIn(node, this.context.queue);
    typesetIn(node, () => this.context.onRendered());
  }

  #settle() {
    this.ready = true;
    this.node.style.minHeight = "";
  }

  /**
   * Follow a generation that is running.
   * @param {import("./generation.js").Generation} generation
   */
  follow(generation) {
    this.generation = generation;
    this.#startStream();
    this.#settle();
    this.node.classList.add("streaming");
    this.node.setAttribute("aria-busy", "true");
    this.renderFoot();
    const drop = [
      generation.on("text", () => this.#schedule()),
      generation.on("end", () => this.#finish()),
    ];
    this.unfollow = () => drop.splice(0).forEach((fn) => fn());
    this.#showPhase();
    if (this.message.text) this.#schedule();
  }

  #startStream() {
    this.body.replaceChildren();
    this.#shown = "";
    this.#stream = new MarkdownStream(this.body, (node) => this.#finishBlock(node));
  }

  /** The view leaves the page: forget the generation, which goes on without it. */
  destroy() {
    this.#gone = true;
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
      this.#showText();
      this.context.onRendered(true);
      const cost = performance.now() - begun;
      this.#notBefore = cost > 4 ? now + cost * REST : 0;
    });
  }

  #showText() {
    const { text, stats } = this.message;
    const { thought, answer, open } = splitThought(text);
    this.thought.update(thought, open, stats?.think_ms);
    this.steps.update(this.message);
    // What looked like an answer turned out to be the thought before it.
    if (!answer.startsWith(this.#shown)) this.#startStream();
    if (answer) this.#stream.update(answer);
    this.#shown = answer;
  }

  #finish() {
    cancelAnimationFrame(this.#frame);
    this.#frame = 0;
    this.unfollow();
    this.generation = null;
    this.#showText();
    const { thought, open } = splitThought(this.message.text);
    if (open) this.thought.update(thought, false); // stopped in the middle of it
    this.#stream.finish();
    this.#stream = null;
    this.waiting?.remove();
    this.node.classList.remove("streaming");
    this.node.removeAttribute("aria-busy");
    this.renderFoot();
    this.context.onRendered();
  }

  /** Before the first token: what is being waited for. */
  #showPhase() {
    const { phase } = this.generation;
    if (phase === "streaming" || phase === "ended") {
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
    if (!this.waiting.isConnected) this.foot.before(this.waiting);
  }

  renderFoot() {
    const { message } = this;
    this.foot.replaceChildren();
    if (message.state === "streaming") {
      if (!this.generation) this.foot.append(elsewhereRow());
      return;
    }
    if (message.problem) this.foot.append(problemBox(message.problem, true));
    this.foot.append(footRow(message, this.context.place(message)));
  }

  /**
   * Turn the question into a box to write in.
   * @param {(text: string) => boolean} send false: it cannot be sent now, and stays in the box
   */
  edit(send) {
    if (this.editor) return;
    this.editor = editBox(this.message.text, (text) => {
      if (text !== null && !send(text)) return;
      this.editor.remove();
      this.editor = null;
      this.body.hidden = !this.message.text;
      this.foot.hidden = false;
      if (text === null) this.foot.querySelector("[data-action=edit]")?.focus();
    });
    this.body.hidden = this.foot.hidden = true;
    this.body.after(this.editor);
    this.editor.begin();
  }
}
