/** Tools in the page: which are on, their panel, and the loop of each answer. */
import { calculator, clock, python, searchChats } from "../../tools/builtin.js";
import { searchChats as search } from "../chat_search.js";
import { byId, h, iconButton } from "../dom.js";
import { openPanel } from "../panel.js";
import { t } from "../strings.js";
import { AgentLoop } from "./agent_loop.js";
import { consentOf, keepConsent } from "./consent.js";
import { toolName } from "./tool_names.js";

const KEY = "jird.tools";

/** @returns {string[]} names of the tools that are on; none at first */
function chosen() {
  try {
    const names = JSON.parse(localStorage.getItem(KEY) ?? "[]");
    return Array.isArray(names) ? names.filter((name) => typeof name === "string") : [];
  } catch {
    return [];
  }
}

class ChatTools {
  #on = new Set(chosen());

  /** @param {import("../app.js").App} app */
  constructor(app) {
    this.app = app;
    this.button = iconButton("tool", t("tools"), { class: "ghost add", "data-testid": "tools",
      "aria-haspopup": "dialog" });
    this.button.addEventListener("click", () => this.open());
    byId("add").after(this.button);
    this.#mark();
  }

  /** All tools, for a chat. @returns {any[]} */
  #all(chat) {
    const { app } = this;
    const elsewhere = async (words, found, signal) => {
      const others = (hits) => found(new Map([...hits].filter(([id]) => id !== chat?.id)));
      await search(app.store, words, others, signal);
    };
    const titleOf = (id) => app.chats.find((other) => other.id === id)?.title ?? "";
    return [calculator, clock, python, searchChats(elsewhere, titleOf)];
  }

  /** The loop of an answer, or null where no tool is on. */
  loop(chat, message) {
    const on = this.#all(chat).filter((tool) => this.#on.has(tool.name)
      && consentOf(chat, tool) !== "never");
    if (!on.length) return null;
    const tools = new Map(on.map((tool) => [tool.name, tool]));
    return new AgentLoop(tools, chat, message, () => this.app.talk.save(chat));
  }

  open() {
    const { chat } = this.app;
    const rows = this.#all(chat).map((tool) => this.#row(tool, chat));
    openPanel(t("tools"), "tools-panel", [h("p", { class: "tools-lead", text: t("toolsLead") }),
      h("ul", { class: "tool-rows" }, ...rows)]);
  }

  #row(tool, chat) {
    const { name } = tool;
    const box = /** @type {HTMLInputElement} */ (h("input", { type: "checkbox",
      checked: this.#on.has(name), "data-testid": `tool-on-${name}` }));
    box.addEventListener("change", () => this.#switch(name, box.checked));
    const text = h("span", {}, h("strong", { text: toolName(name) }),
      h("span", { class: "tool-help", text: t(`toolHelp_${name}`) }));
    const row = h("li", {}, h("label", {}, box, text));
    const kept = chat?.consent?.[name];
    if (kept) row.append(this.#kept(row, chat, name, kept));
    return row;
  }

  #kept(row, chat, name, kept) {
    const forget = h("button", { type: "button", class: "button small plain",
      text: t("toolForget"), "data-testid": `tool-forget-${name}` });
    const line = h("p", { class: "tool-kept" },
      h("span", { text: t(kept === "always" ? "toolAlways" : "toolNever") }), forget);
    forget.addEventListener("click", () => {
      keepConsent(chat, name, null);
      this.app.talk.save(chat);
      line.remove();
      row.querySelector("input").focus();
    });
    return line;
  }

  #switch(name, on) {
    if (on) this.#on.add(name);
    else this.#on.delete(name);
    try {
      localStorage.setItem(KEY, JSON.stringify([...this.#on]));
    } catch {
      // Then it lasts as long as the page.
    }
    this.#mark();
  }

  #mark() {
    this.button.toggleAttribute("data-on", this.#on.size > 0);
  }
}

/** @param {import("../app.js").App} app */
export function setUpTools(app) {
  app.talk.tools = new ChatTools(app);
}
