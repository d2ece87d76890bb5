/**
 * The list of messages, and a scroll position that follows the answer unless the person has
 * scrolled up.
 */
import { copyText } from "./dom.js";
import { IdleQueue } from "./idle_queue.js";
import { MessageView } from "./message_view.js";
import { MessageWindow } from "./message_window.js";
import { splitThought } from "./reasoning.js";
import { t } from "./strings.js";

/** How near to the end, in CSS px, counts as being at the end. */
const NEAR = 48;

export class ChatView {
  #queue = new IdleQueue();
  #sticks = true;
  #lastTop = 0;
  #frame = 0;
  #generation = null;

  /**
   * @param {{scroller: HTMLElement, list: HTMLElement, jump: HTMLElement}} parts
   * @param {{act: (action: string, id: string, button: HTMLElement) => void, note: (text: string)
   *   => void, place: (message: any) => {index: number, all: any[]}}} actions
   */
  constructor({ scroller, list, jump }, actions) {
    Object.assign(this, { scroller, list, jump, actions });
    const onRendered = (inFrame) => this.#followEnd(inFrame);
    this.context = { queue: this.#queue, onRendered, place: actions.place };
    this.window = new MessageWindow(scroller, list, (m) => this.#make(m), () => this.#followEnd());
    scroller.addEventListener("scroll", () => this.#noteScroll(), { passive: true });
    jump.addEventListener("click", () => this.jumpToEnd(true));
    list.addEventListener("click", (event) => this.#act(event));
    new ResizeObserver(() => this.#followEnd()).observe(scroller);
  }

  /**
   * Show a chat. Long ones are rendered in slices, the newest message first.
   * @param {import("./chat_store.js").Message[]} messages
   * @param {import("./generation.js").Generation|null} generation the one that runs
   */
  show(messages, generation) {
    this.#queue.clear();
    this.#generation = generation;
    this.window.set([]);
    this.#sticks = true;
    this.window.set(messages);
    this.#queue.slice(); // the newest message is there without a flash
    this.jumpToEnd();
  }

  /**
   * Show another path of the same chat; what is on both stays as it is.
   * @param {import("./chat_store.js").Message[]} messages
   * @param {import("./generation.js").Generation|null} generation
   */
  change(messages, generation) {
    this.#generation = generation;
    this.window.set(messages);
    for (const view of this.window.views.values()) if (!view.generation) view.renderFoot();
    this.#queue.slice();
    if (generation) this.jumpToEnd();
  }

  /** An answer begins that is shown already. @param {any} generation */
  follow(generation) {
    this.#generation = generation;
    this.window.views.get(generation.message.id)?.follow(generation);
    this.jumpToEnd();
  }

  /** @param {string} id */
  view(id) {
    return this.window.views.get(id);
  }

  /** @param {boolean} [smooth] */
  jumpToEnd(smooth = false) {
    this.#sticks = true;
    this.jump.hidden = true;
    const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
    if (this.window.windowed) {
      this.window.letGo();
      this.window.update(true);
    }
    const gentle = smooth && !calm && !this.window.windowed;
    this.scroller.scrollTo({
      top: this.#empty ? 0 : this.scroller.scrollHeight,
      behavior: gentle ? "smooth" : "instant",
    });
    this.#lastTop = this.scroller.scrollTop;
  }

  /** Then the welcome is in the scroller, which is read from its top. */
  get #empty() {
    return !this.list.childElementCount;
  }

  #make(message) {
    const view = new MessageView(message, this.context);
    const running = this.#generation;
    if (running?.message === message && running.phase !== "ended") view.follow(running);
    else this.#queue.add(view.render(), { front: true });
    return view;
  }

  /** Reading a height forces layout, so at most once a frame. @param {boolean} [inFrame] */
  #followEnd(inFrame = false) {
    if (this.#empty || !this.#sticks || (this.#frame && !inFrame)) return;
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
    if (this.#empty) return;
    const { scrollTop, scrollHeight, clientHeight } = this.scroller;
    const atEnd = scrollHeight - scrollTop - clientHeight < NEAR;
    if (atEnd) this.#sticks = true;
    else if (scrollTop < this.#lastTop - 1) this.#sticks = false;
    this.#lastTop = scrollTop;
    this.jump.hidden = atEnd || this.#sticks;
    if (this.#sticks) {
      if (this.window.windowed && atEnd) this.window.update(true);
    } else {
      this.window.noteScroll();
      this.#queue.slice();
      this.#lastTop = this.scroller.scrollTop;
    }
  }

  #act(event) {
    const button = event.target.closest?.("[data-action]");
    const id = button?.closest("article")?.dataset.id;
    if (!id) return;
    const { action } = button.dataset;
    if (action === "copy-message") {
      const { role, text } = this.view(id).message;
      this.#copy(button, role === "user" ? text : splitThought(text).answer || text);
    } else if (action === "copy-code") {
      const code = button.closest(".code").querySelector("code").textContent;
      this.#copy(button, code.replace(/\n$/, ""));
    } else this.actions.act(action, id, button);
  }

  async #copy(button, text) {
    if (!(await copyText(text))) return this.actions.note(t("copyFailed"));
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
