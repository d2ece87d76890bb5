/**
 * The rows of the list of chats under their dates. Of a long list only the rows near the visible
 * part stand in the page.
 */
import { h, icon, iconButton } from "./dom.js";
import { formatDay } from "./format.js";
import { t } from "./strings.js";

/** Up to this many rows all stand in the page. */
const WHOLE = 100;
const SPARE_PX = 600;
/** Heights in rem, as css/layout.css has them. */
const ROW = 2.75;
const TALL = 4.25;
const DAY = 2.5;

export class ChatList {
  #rows = [];
  #current = null;
  #shown = "";

  /** @param {HTMLElement} root scrolls */
  constructor(root) {
    this.root = root;
    root.addEventListener("scroll", () => this.#draw(), { passive: true });
    new ResizeObserver(() => this.#draw()).observe(root);
  }

  /**
   * @param {import("./chat_store.js").Chat[]} chats newest first
   * @param {string|null} current
   * @param {{excerpts?: Map<string, string>|null, empty: string}} options
   */
  show(chats, current, { excerpts = null, empty }) {
    const rem = parseFloat(getComputedStyle(document.documentElement).fontSize);
    this.#rows = [];
    let y = 0;
    let day = null;
    const add = (row, height) => {
      this.#rows.push({ ...row, y, height: height * rem });
      y += height * rem;
    };
    for (const chat of chats) {
      const name = formatDay(chat.updated);
      if (name !== day) add({ day: name }, DAY);
      day = name;
      const excerpt = excerpts?.get(chat.id);
      add({ chat, excerpt, day }, excerpt ? TALL : ROW);
    }
    this.height = y;
    this.#current = current;
    this.empty = empty;
    this.#shown = "";
    this.#draw();
  }

  #draw() {
    const [from, to] = this.#range();
    const shown = `${from}-${to}`;
    if (shown === this.#shown) return;
    this.#shown = shown;
    const held = document.activeElement?.closest?.(".chat-row")?.dataset.id;
    const rows = this.#rows.slice(from, to);
    if (!this.#rows.length) {
      this.root.replaceChildren(h("p", { class: "chats-empty", text: this.empty }));
      return;
    }
    const before = spacer(rows[0]?.y ?? 0);
    const last = rows.at(-1);
    const after = spacer(this.height - (last ? last.y + last.height : 0));
    this.root.replaceChildren(...(from ? [before] : []), ...this.#sections(rows),
      ...(to < this.#rows.length ? [after] : []));
    if (held) this.root.querySelector(`[data-id="${held}"] .chat-open`)?.focus();
  }

  #range() {
    const n = this.#rows.length;
    if (n <= WHOLE) return [0, n];
    const top = this.root.scrollTop - SPARE_PX;
    const end = this.root.scrollTop + this.root.clientHeight + SPARE_PX;
    const from = this.#rows.findIndex((row) => row.y + row.height >= top);
    const to = this.#rows.findIndex((row) => row.y > end);
    return [Math.max(0, from), to < 0 ? n : to];
  }

  #sections(rows) {
    const sections = [];
    let list = null;
    let day = null;
    for (const row of rows) {
      if (row.day !== day || !list) {
        list = h("ul", { "aria-label": row.day });
        sections.push(h("section", {}, list));
        day = row.day;
      }
      if (row.chat) list.append(this.#item(row));
      else list.before(h("h2", { class: "chats-day", text: row.day }));
    }
    return sections;
  }

  #item({ chat, excerpt }) {
    const title = chat.title || t("untitled");
    const current = chat.id === this.#current;
    return h(
      "li",
      { class: current ? "chat-row current" : "chat-row", "data-id": chat.id },
      h(
        "a",
        {
          class: excerpt ? "chat-open tall" : "chat-open",
          href: `#chat=${chat.id}`,
          dir: "auto",
          title,
          "data-action": "open",
          "aria-current": current ? "page" : null,
        },
        h("span", { text: title }),
        excerpt ? h("small", { text: excerpt }) : null,
      ),
      iconButton("more", `${t("chatActions")}: ${title}`, {
        class: "ghost chat-menu",
        "data-action": "menu",
        "aria-haspopup": "menu",
      }),
    );
  }

  /** Turn a row into a box for its title. @param {string} id @param {(title: string) => void} done */
  rename(id, done) {
    const row = this.root.querySelector(`[data-id="${id}"]`);
    const link = row?.querySelector(".chat-open");
    if (!link) return;
    const input = /** @type {HTMLInputElement} */ (
      h("input", { class: "chat-title", dir: "auto", maxlength: 200, "aria-label": t("rename") })
    );
    input.value = link.title;
    let open = true;
    const end = (title) => {
      if (!open) return;
      open = false;
      this.#shown = "";
      done(title);
      this.root.querySelector(`[data-id="${id}"] .chat-open`)?.focus();
    };
    input.addEventListener("keydown", (event) => {
      if (event.isComposing) return;
      if (event.key !== "Enter" && event.key !== "Escape") return;
      event.preventDefault();
      event.stopPropagation();
      end(event.key === "Enter" ? input.value : "");
    });
    input.addEventListener("blur", () => end(input.value));
    row.replaceChildren(icon("edit"), input);
    row.classList.add("renaming");
    input.focus();
    input.select();
  }
}

/** @param {number} height px */
function spacer(height) {
  const node = h("div", {});
  node.style.height = `${height}px`;
  return node;
}
