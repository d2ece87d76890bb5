/** The prompt library: some to begin with, and a person's own. A press puts one into the box. */
import { folded } from "./chat_search.js";
import { h, iconButton } from "./dom.js";
import { openPanel } from "./panel.js";
import { t } from "./strings.js";

/** The prompts to begin with: names of texts. */
const LIBRARY = ["summarise", "explain", "proofread", "shorten", "email", "translate", "review",
  "weigh"];

/**
 * @param {import("./settings_store.js").SettingsStore} store
 * @param {(text: string) => void} use
 * @param {string} draft what is in the box now, to be kept as a prompt
 */
export function openPrompts(store, use, draft) {
  const find = /** @type {HTMLInputElement} */ (
    h("input", { class: "field", type: "search", placeholder: t("promptFind"),
      "aria-label": t("promptFind"), "data-testid": "prompt-find" }));
  const list = h("ul", { class: "prompts" });
  const dialog = openPanel(t("prompts"), "prompts-panel", [find, list, form()], { wide: true });
  find.addEventListener("input", draw);
  draw();

  function draw() {
    const words = folded(find.value).split(/\s+/).filter(Boolean);
    const own = store.prompts.map((row) => ({ ...row, own: true }));
    const ours = LIBRARY.map((id) => ({ name: t(`libraryName_${id}`), text: t(`libraryText_${id}`) }));
    const rows = [...own, ...ours];
    const fits = ({ name, text }) => words.every((word) => folded(`${name} ${text}`).includes(word));
    list.replaceChildren(...rows.filter(fits).map(item));
    if (!list.children.length) list.append(h("li", { class: "soft", text: t("foundNone") }));
  }

  function item({ name, text, own }) {
    const take = h("button", { type: "button", class: "prompt" },
      h("strong", { text: name, dir: "auto" }), h("span", { text, dir: "auto" }));
    take.addEventListener("click", () => {
      dialog.close();
      use(text);
    });
    if (!own) return h("li", {}, take);
    const off = iconButton("trash", `${t("promptDelete")}: ${name}`, { class: "ghost" });
    off.addEventListener("click", () => {
      store.drop("prompts", name);
      draw();
    });
    return h("li", {}, take, off);
  }

  function form() {
    const name = /** @type {HTMLInputElement} */ (
      h("input", { class: "field", maxlength: 60, placeholder: t("promptName"),
        "aria-label": t("promptName"), "data-testid": "prompt-name" }));
    const text = /** @type {HTMLTextAreaElement} */ (
      h("textarea", { class: "field", rows: 3, dir: "auto", placeholder: t("promptText"),
        "aria-label": t("promptText"), "data-testid": "prompt-text" }));
    text.value = draft;
    const keep = h("button", { type: "submit", class: "button small", text: t("promptKeep") });
    const node = h("form", { class: "prompt-form" }, h("h3", { text: t("promptNew") }), name, text,
      keep);
    node.addEventListener("submit", (event) => {
      event.preventDefault();
      const row = { name: name.value.trim(), text: text.value.trim() };
      if (!row.name || !row.text) return (row.name ? text : name).focus();
      store.keep("prompts", row);
      name.value = text.value = find.value = "";
      draw();
      list.firstElementChild?.scrollIntoView({ block: "nearest" });
    });
    return node;
  }
}
