/**
 * The messages that stand in the page. A chat of some dozens stands there whole; of a longer one
 * only what is near the visible part does, between two spacers of the others' heights.
 */
import { h } from "./dom.js";

/** Up to this many messages all stand in the page, so that the browser's own search finds them... */
const WHOLE = 120;
/** ...and up to this many characters: each frame of a page goes through all that stands in it. */
const WHOLE_TEXT = 200_000;
/** Screens above and below the visible one that stand ready. */
const SPARE = 1.5;

/** @param {import("./chat_store.js").Message} message @returns {number} a guess in CSS px */
function guess({ text, role }) {
  const lines = Math.ceil(text.length / (role === "user" ? 60 : 85));
  return (role === "user" ? 48 : 70) + Math.min(lines, 4000) * 26;
}

export class MessageWindow {
  /** @type {import("./chat_store.js").Message[]} */
  items = [];
  windowed = false;
  /** @type {Map<string, import("./message_view.js").MessageView>} */
  views = new Map();
  #heights = new Map();
  #gap = 0;
  #anchor = null;
  #spacers = [h("div", { class: "spacer" }), h("div", { class: "spacer" })];

  /**
   * @param {HTMLElement} scroller
   * @param {HTMLElement} list
   * @param {(message: any) => import("./message_view.js").MessageView} make
   * @param {() => void} onResize a message has another height
   */
  constructor(scroller, list, make, onResize) {
    Object.assign(this, { scroller, list, make, onResize });
    this.sizes = new ResizeObserver((entries) => this.#resized(entries));
  }

  /** Show these messages; views of those that stay are kept. @param {any[]} items */
  set(items) {
    const wanted = new Set(items);
    if (items[0]?.chat !== this.items[0]?.chat) this.#heights.clear();
    for (const view of [...this.views.values()]) if (!wanted.has(view.message)) this.#drop(view);
    this.#anchor = null;
    this.#gap = parseFloat(getComputedStyle(this.list).rowGap) || 0;
    this.#hold(items);
    this.update();
  }

  /** @param {any} item added at the end */
  push(item) {
    this.#hold([...this.items, item]);
    this.update(true);
  }

  #hold(items) {
    this.items = items;
    const characters = items.reduce((sum, { text }) => sum + text.length, 0);
    this.windowed = items.length > WHOLE || characters > WHOLE_TEXT;
    this.scroller.classList.toggle("windowed", this.windowed);
  }

  height(item) {
    return this.#heights.get(item.id) ?? guess(item);
  }

  /** Bring in what the scroll position shows, and let go of the rest. @param {boolean} [atEnd] */
  update(atEnd = false) {
    const [from, to] = this.windowed ? this.#range(atEnd) : [0, this.items.length];
    const wanted = new Set(this.items.slice(from, to));
    for (const view of [...this.views.values()]) if (!wanted.has(view.message)) this.#drop(view);
    let before = this.#space(0, 0, from);
    for (const item of wanted) {
      const view = this.views.get(item.id) ?? this.#mount(item);
      const next = before ? before.nextSibling : this.list.firstChild;
      if (view.node !== next) this.list.insertBefore(view.node, next);
      before = view.node;
    }
    this.#space(1, to, this.items.length);
    this.keepAnchor();
  }

  /** The person has moved: what is at the top of the screen now is to stay there. */
  noteScroll() {
    if (!this.windowed) return;
    this.update();
    this.#anchor = null;
    const top = this.scroller.getBoundingClientRect().top;
    for (const view of this.#inOrder()) {
      const box = view.node.getBoundingClientRect();
      if (box.bottom <= top) continue;
      this.#anchor = { id: view.message.id, offset: box.top - top };
      return;
    }
  }

  /** Undo the shift that other heights above gave to what is being read. */
  keepAnchor() {
    const view = this.#anchor && this.views.get(this.#anchor.id);
    if (!view) return;
    const top = this.scroller.getBoundingClientRect().top;
    const shift = view.node.getBoundingClientRect().top - top - this.#anchor.offset;
    if (Math.abs(shift) >= 1) this.scroller.scrollTop += shift;
  }

  /** No position is to be kept: the end is followed. */
  letGo() {
    this.#anchor = null;
  }

  #inOrder() {
    return this.items.filter(({ id }) => this.views.has(id)).map(({ id }) => this.views.get(id));
  }

  #range(atEnd) {
    const { scrollTop, clientHeight } = this.scroller;
    const spare = clientHeight * SPARE;
    const n = this.items.length;
    let from = 0;
    if (atEnd) {
      from = n;
      for (let left = clientHeight + spare; from > 0 && left > 0; )
        left -= this.height(this.items[--from]) + this.#gap;
      return [from, n];
    }
    let y = 0;
    while (from < n && y + this.height(this.items[from]) < scrollTop - spare)
      y += this.height(this.items[from++]) + this.#gap;
    let to = from;
    while (to < n && y < scrollTop + clientHeight + spare)
      y += this.height(this.items[to++]) + this.#gap;
    return [from, to];
  }

  /** @returns {HTMLElement|null} the spacer, where there is something to stand for */
  #space(which, from, to) {
    const spacer = this.#spacers[which];
    if (from >= to) {
      spacer.remove();
      return null;
    }
    let sum = -this.#gap;
    for (let i = from; i < to; i++) sum += this.height(this.items[i]) + this.#gap;
    spacer.style.height = `${sum}px`;
    if (!spacer.isConnected) this.list[which ? "append" : "prepend"](spacer);
    return spacer;
  }

  #mount(item) {
    const view = this.make(item);
    this.views.set(item.id, view);
    if (this.windowed && !view.ready) view.node.style.minHeight = `${this.height(item)}px`;
    this.sizes.observe(view.node);
    return view;
  }

  #drop(view) {
    this.sizes.unobserve(view.node);
    this.views.delete(view.message.id);
    view.destroy();
  }

  #resized(entries) {
    for (const { target, borderBoxSize } of entries) {
      const { id } = target.dataset;
      if (this.views.get(id)?.ready) this.#heights.set(id, borderBoxSize[0].blockSize);
    }
    if (this.windowed) this.keepAnchor();
    this.onResize();
  }
}
