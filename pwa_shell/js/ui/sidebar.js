/** The list of chats: a column on wide screens, a drawer on narrow ones. */
import { Emitter, byId, h, iconButton } from "./dom.js";
import { formatDay } from "./format.js";
import { t } from "./strings.js";

const WIDE = matchMedia("(min-width: 960px)");

/** Emits `open` (chat id), `delete` (chat id) and `new`. */
export class Sidebar extends Emitter {
  constructor() {
    super();
    this.root = byId("sidebar");
    this.main = byId("main");
    this.list = byId("chats");
    this.toggleButton = byId("menu");
    this.toggleButton.addEventListener("click", () => this.toggle());
    byId("side-close").addEventListener("click", () => this.close());
    byId("top-new").addEventListener("click", () => this.emit("new"));
    byId("scrim").addEventListener("click", () => this.close());
    this.root.addEventListener("click", (event) => this.#click(event));
    this.root.addEventListener(
      "keydown",
      (event) => event.key === "Escape" && this.close() && event.stopPropagation(),
    );
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

  /**
   * @param {import("./chat_store.js").Chat[]} chats newest first
   * @param {string|null} current
   */
  render(chats, current) {
    const groups = new Map();
    for (const chat of chats) {
      const day = formatDay(chat.updated);
      if (!groups.has(day)) groups.set(day, []);
      groups.get(day).push(this.#item(chat, chat.id === current));
    }
    const lists = [...groups].map(([day, items]) =>
      h("section", {}, h("h2", { class: "chats-day", text: day }), h("ul", {}, ...items)),
    );
    this.list.replaceChildren(
      ...(lists.length ? lists : [h("p", { class: "chats-empty", text: t("noChats") })]),
    );
  }

  #item(chat, current) {
    const title = chat.title || t("untitled");
    return h(
      "li",
      { class: current ? "chat-row current" : "chat-row", "data-id": chat.id },
      h("a", {
        class: "chat-open",
        href: `#chat=${chat.id}`,
        dir: "auto",
        title,
        text: title,
        "data-action": "open",
        "aria-current": current ? "page" : null,
      }),
      iconButton("trash", `${t("deleteChat")}: ${title}`, {
        class: "ghost chat-delete",
        "data-action": "delete",
      }),
    );
  }

  #click(event) {
    if (event.target.closest(".side-link")) this.close();
    const target = event.target.closest("[data-action]");
    if (!target) return;
    const id = target.closest("li")?.dataset.id;
    const newTab = event.ctrlKey || event.metaKey; // as links do
    if (target.dataset.action === "open" && newTab) return;
    event.preventDefault();
    this.emit(target.dataset.action, id);
    if (target.dataset.action !== "delete") this.close();
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
