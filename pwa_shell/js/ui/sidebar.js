/** The list of chats and its search: a column on wide screens, a drawer on narrow ones. */
import { ChatList } from "./chat_list.js";
import { folded } from "./chat_search.js";
import { Emitter, byId } from "./dom.js";
import { t } from "./strings.js";

const WIDE = matchMedia("(min-width: 960px)");
const SEARCH_AFTER_MS = 120;

/**
 * Emits `open` (chat id), `new`, `menu` ({id, button}) and `rename` ({id, title}; an empty title
 * changes nothing).
 */
export class Sidebar extends Emitter {
  #chats = [];
  #current = null;
  #excerpts = null;
  #timer = 0;
  #searching = new AbortController();

  /**
   * @param {(query: string, found: (excerpts: Map<string, string>) => void, signal: AbortSignal) =>
   *   Promise<void>} search over the texts of all chats
   */
  constructor(search) {
    super();
    this.search = search;
    this.root = byId("sidebar");
    this.main = byId("main");
    this.list = new ChatList(byId("chats"));
    this.box = /** @type {HTMLInputElement} */ (byId("search"));
    this.toggleButton = byId("menu");
    this.toggleButton.addEventListener("click", () => this.toggle());
    byId("side-close").addEventListener("click", () => this.close());
    byId("top-new").addEventListener("click", () => this.emit("new"));
    byId("scrim").addEventListener("click", () => this.close());
    this.root.addEventListener("click", (event) => this.#click(event));
    this.root.addEventListener("keydown", (event) => this.#key(event));
    this.box.addEventListener("input", () => this.#look());
    WIDE.addEventListener("change", () => this.#apply(WIDE.matches));
    this.#apply(WIDE.matches);
  }

  get isOpen() {
    return document.documentElement.dataset.sidebar === "open";
  }

  toggle() {
    this.#apply(!this.isOpen);
    if (this.isOpen && !WIDE.matches) byId("new-chat").focus();
  }

  /**
   * Close the drawer; the column of a wide screen stays.
   * @returns {boolean} whether there was a drawer to close
   */
  close() {
    if (WIDE.matches || !this.isOpen) return false;
    this.#apply(false);
    this.toggleButton.focus();
    return true;
  }

  /** Go to the search box. */
  find() {
    if (!this.isOpen) this.#apply(true);
    this.box.focus();
    this.box.select();
  }

  /**
   * @param {import("./chat_store.js").Chat[]} chats newest first
   * @param {string|null} current
   */
  render(chats, current) {
    this.#chats = chats;
    this.#current = current;
    if (!this.list.root.querySelector(".chat-title")) this.#draw(); // a title is being written
  }

  /** @param {string} id */
  rename(id) {
    this.list.rename(id, (title) => {
      this.emit("rename", { id, title });
      this.#draw();
    });
  }

  #draw() {
    const words = folded(this.box.value).split(/\s+/).filter(Boolean);
    const named = ({ title }) => words.every((word) => folded(title).includes(word));
    const shown = words.length
      ? this.#chats.filter((chat) => named(chat) || this.#excerpts?.has(chat.id))
      : this.#chats;
    const empty = t(words.length ? (this.#excerpts?.done ? "foundNone" : "searching") : "noChats");
    this.list.show(shown, this.#current, { excerpts: words.length ? this.#excerpts : null, empty });
  }

  #look() {
    clearTimeout(this.#timer);
    this.#searching.abort();
    const { signal } = (this.#searching = new AbortController());
    this.#excerpts = null;
    this.#timer = setTimeout(async () => {
      this.list.root.scrollTop = 0;
      const found = (excerpts) => {
        if (signal.aborted) return;
        this.#excerpts = new Map(excerpts);
        this.#draw();
      };
      found(new Map());
      await this.search(this.box.value, found, signal);
      if (signal.aborted) return;
      this.#excerpts.done = true;
      this.#draw();
    }, SEARCH_AFTER_MS);
  }

  #key(event) {
    if (event.key === "Escape" && event.target === this.box && this.box.value) {
      this.box.value = "";
      this.#look();
      this.#draw();
      event.stopPropagation();
    } else if (event.key === "Escape" && this.close()) event.stopPropagation();
    else if (event.key === "Enter" && event.target === this.box) this.#rows()[0]?.click();
    else if (event.key === "ArrowDown" || event.key === "ArrowUp") this.#step(event);
  }

  #rows() {
    return [...this.list.root.querySelectorAll(".chat-open")];
  }

  /** The arrows go from the search box into the list and along it. */
  #step(event) {
    const rows = this.#rows();
    const at = rows.indexOf(document.activeElement);
    if (at < 0 && event.target !== this.box) return;
    event.preventDefault();
    const to = at + (event.key === "ArrowDown" ? 1 : -1);
    if (to < 0) this.box.focus();
    else rows[Math.min(to, rows.length - 1)]?.focus();
  }

  #click(event) {
    if (event.target.closest(".side-link")) this.close();
    const target = event.target.closest("[data-action]");
    if (!target) return;
    const id = target.closest("li")?.dataset.id;
    const newTab = event.ctrlKey || event.metaKey; // as links do
    const { action } = target.dataset;
    if (action === "open" && newTab) return;
    event.preventDefault();
    if (action === "menu") return this.emit("menu", { id, button: target });
    this.emit(action, id);
    this.close();
  }

  /** The page under an open drawer takes no focus and no clicks. */
  #apply(open) {
    document.documentElement.dataset.sidebar = open ? "open" : "closed";
    this.root.inert = !open;
    this.main.inert = open && !WIDE.matches;
    this.toggleButton.setAttribute("aria-expanded", String(open));
    this.toggleButton.setAttribute("aria-label", t(open ? "chatsClose" : "chatsOpen"));
  }
}
