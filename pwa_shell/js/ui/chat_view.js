/**
 * The list of messages, and a scroll position that follows the answer unless the person has
 * scrolled up.
 */
import { copyText } from "./dom.js";
import { IdleQueue } from "./idle_queue.js";
import { MessageView } from "./message_view.js";
import { t } from "./strings.js";

/** How near to the end, in CSS px, counts as being at the end. */
const NEAR = 48;

export class ChatView {
  /** @type {Map<string, MessageView>} */
  #views = new Map();
  #queue = new IdleQueue();
  #sticks = true;
  #lastTop = 0;
  #frame = 0;

  /**
   * @param {{scroller: HTMLElement, list: HTMLElement, jump: HTMLElement}} parts
   * @param {{onRetry: (id: string) => void, onNote: (text: string) => void}} actions
   */
  constructor({ scroller, list, jump }, actions) {
    Object.assign(this, { scroller, list, jump, actions });
    this.context = { queue: this.#queue, onRendered: (inFrame) => this.#followEnd(inFrame) };
    scroller.addEventListener("scroll", () => this.#noteScroll(), { passive: true });
    jump.addEventListener("click", () => this.jumpToEnd(true));
    list.addEventListener("click", (event) => this.#act(event));
    new ResizeObserver(() => this.#followEnd()).observe(scroller);
  }

  /**
   * Show a chat. Long ones are rendered in slices, the newest message first.
   * @param {import("./chat_store.js").Message[]} messages
   * @param {import("./generation.js").Generation|null} generation the one that runs in this chat
   */
  show(messages, generation) {
    this.#queue.clear();
    for (const view of this.#views.values()) view.destroy();
    this.#views.clear();
    for (const message of messages) this.#insert(message, generation);
    const settled = [...this.#views.values()].filter((view) => !view.generation).reverse();
    for (const view of settled) this.#queue.add(view.render());
    this.#queue.slice(); // the newest message is there without a flash
    this.jumpToEnd();
  }

  /**
   * @param {import("./chat_store.js").Message} message
   * @param {import("./generation.js").Generation|null} generation
   */
  add(message, generation = null) {
    this.#insert(message, generation);
    this.jumpToEnd();
  }

  /** @param {string} id */
  remove(id) {
    this.#views.get(id)?.destroy();
    this.#views.delete(id);
  }

  /** @param {boolean} [smooth] */
  jumpToEnd(smooth = false) {
    this.#sticks = true;
    this.jump.hidden = true;
    const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
    this.scroller.scrollTo({
      top: this.scroller.scrollHeight,
      behavior: smooth && !calm ? "smooth" : "instant",
    });
    this.#lastTop = this.scroller.scrollTop;
  }

  #insert(message, generation) {
    const view = new MessageView(message, this.context);
    this.#views.set(message.id, view);
    this.list.append(view.node);
    if (generation?.message === message) view.follow(generation);
  }

  /** Reading a height forces layout, so at most once a frame. @param {boolean} [inFrame] */
  #followEnd(inFrame = false) {
    if (!this.#sticks || (this.#frame && !inFrame)) return;
    if (!inFrame) {
      this.#frame = requestAnimationFrame(() => {
        this.#frame = 0;
        this.#followEnd(true);
      });
      return;
    }
    this.scroller.scrollTop = this.scroller.scrollHeight;
    this.#lastTop = this.scroller.scrollTop;
  }

  /** Only a move upwards lets go of the end; growth of the text does not. */
  #noteScroll() {
    const { scrollTop, scrollHeight, clientHeight } = this.scroller;
    const atEnd = scrollHeight - scrollTop - clientHeight < NEAR;
    if (atEnd) this.#sticks = true;
    else if (scrollTop < this.#lastTop - 1) this.#sticks = false;
    this.#lastTop = scrollTop;
    this.jump.hidden = atEnd || this.#sticks;
  }

  #act(event) {
    const button = event.target.closest?.("[data-action]");
    const id = button?.closest("article")?.dataset.id;
    if (!id) return;
    const { action } = button.dataset;
    if (action === "retry") this.actions.onRetry(id);
    else if (action === "copy-message") this.#copy(button, this.#views.get(id)?.message.text ?? "");
    else if (action === "copy-code") {
      const code = button.closest(".code").querySelector("code").textContent;
      this.#copy(button, code.replace(/\n$/, ""));
    }
  }

  async #copy(button, text) {
    if (!(await copyText(text))) return this.actions.onNote(t("copyFailed"));
    const label = button.querySelector("span");
    const use = button.querySelector("use");
    use.setAttribute("href", "#i-check");
    if (label) label.textContent = t("copied");
    setTimeout(() => {
      use.setAttribute("href", "#i-copy");
      if (label) label.textContent = t("copy");
    }, 1600);
  }
}
