/** The settings, drawn from the table: for the open chat, or for all that set nothing of their own. */
import { h, iconButton } from "./dom.js";
import { openPanel } from "./panel.js";
import { PRESETS, SETTINGS, cleanSettings, parseSetting } from "./settings_registry.js";
import { chooseLanguage, chosenLanguage, t } from "./strings.js";
import { LANGUAGES } from "./lang/languages.js";
import { currentTheme, setTheme } from "./theme.js";
import { toast } from "./toast.js";

/** @typedef {import("./settings_registry.js").Setting} Setting */

/**
 * @typedef {{store: import("./settings_store.js").SettingsStore, chat:
 *   import("./chat_store.js").Chat|null, defaults: Record<string, any>, setChat: (settings:
 *   Record<string, any>) => void, extra: HTMLElement, reload: () => void}} Context `defaults`: the
 *   model's own
 */

/** Settings that the page keeps itself; the first choice is what holds without one. */
const OWN = {
  theme: { read: currentTheme, keep: setTheme },
  language: { read: chosenLanguage, keep: chooseLanguage },
};

/** @param {Setting} setting @param {string} value */
const choiceText = ({ name }, value) =>
  t(/** @type {any} */ (`choice_${name}_${value}`)) ?? LANGUAGES[value].name;

export class SettingsPanel {
  #rows = new Map();

  /** @param {Context} context */
  constructor(context) {
    Object.assign(this, context);
    this.scope = this.chat ? "chat" : "all";
    this.body = h("div", { class: "settings" });
    this.dialog = openPanel(t("settings"), "settings-panel", [this.body], { wide: true });
    this.#draw();
  }

  /** Values of the chosen scope. */
  get values() {
    return this.scope === "chat" ? (this.chat.settings ?? {}) : this.store.all;
  }

  #write(changes) {
    if (this.scope === "chat") {
      const merged = { ...this.values, ...changes };
      this.setChat(cleanSettings(merged));
    } else for (const [name, value] of Object.entries(changes)) this.store.set(name, value);
  }

  /** What holds where this scope says nothing. @param {Setting} setting */
  #fallback({ name }) {
    const above = this.scope === "chat" ? this.store.all[name] : undefined;
    return above ?? this.defaults[name];
  }

  #draw() {
    this.#rows.clear();
    const shown = SETTINGS.filter(({ scope }) => scope === "chat" || this.scope === "all");
    const rows = shown.map((setting) => this.#row(setting));
    this.body.replaceChildren(this.#scopes(), this.#presets(), ...rows, this.extra);
  }

  #scopes() {
    if (!this.chat) return h("p", { class: "soft", text: t("settingsForAll") });
    const tab = (scope, text) =>
      h("button", {
        type: "button",
        "aria-pressed": String(this.scope === scope),
        text,
        "data-testid": `scope-${scope}`,
        on: {
          click: () => {
            this.scope = scope;
            this.#draw();
            /** @type {HTMLElement} */ (this.body.querySelector(`[data-testid=scope-${scope}]`)).focus();
          },
        },
      });
    const label = t("settingsScope");
    return h("div", { class: "segments", role: "group", "aria-label": label },
      tab("chat", t("settingsChat")), tab("all", t("settingsAll")));
  }

  /** @param {Setting} setting */
  #row(setting) {
    const { name } = setting;
    const id = `setting-${name}`;
    const input = this.#input(setting, id);
    const reset = iconButton("retry", `${t("reset")}: ${t(setting.label)}`, {
      class: "ghost reset",
      "data-testid": `reset-${name}`,
    });
    const problem = h("p", { class: "setting-problem", role: "alert", id: `${id}-problem` });
    const node = h(
      "div",
      { class: `setting of-${setting.type}`, "data-name": name },
      h("div", { class: "setting-head" },
        h("label", { for: id, text: t(setting.label) }), input.tagName === "TEXTAREA" ? null : input,
        reset),
      input.tagName === "TEXTAREA" ? input : null,
      problem,
      h("p", { class: "setting-help", id: `${id}-help`, text: t(setting.help) }),
    );
    this.#rows.set(name, { setting, node, input, problem, reset });
    input.setAttribute("aria-describedby", `${id}-help ${id}-problem`);
    input.addEventListener(setting.type === "choice" ? "change" : "input", () => this.#typed(name));
    reset.addEventListener("click", () => {
      this.#store(name, null);
      this.#fill(name);
      input.focus();
    });
    this.#fill(name);
    return node;
  }

  #input(setting, id) {
    const props = { id, "data-testid": id, class: "field" };
    if (setting.type === "text") return h("textarea", { ...props, rows: 3, dir: "auto" });
    if (setting.type === "choice") {
      const texts = setting.choices.map((value) =>
        h("option", { value, text: choiceText(setting, value) }));
      return h("select", props, ...texts);
    }
    const inputmode = setting.type === "int" ? "numeric" : "decimal";
    return h("input", { ...props, type: "text", inputmode, autocomplete: "off" });
  }

  #read(name) {
    return OWN[name] ? OWN[name].read() : this.values[name];
  }

  #store(name, value) {
    if (OWN[name]) OWN[name].keep(value ?? this.#rows.get(name).setting.choices[0]);
    else this.#write({ [name]: value });
    if (name === "language") this.#redraw();
    this.#mark(name);
  }

  /** The page is drawn anew in another language; not in the middle of an answer. */
  #redraw() {
    if (!document.documentElement.hasAttribute("data-busy")) return this.reload();
    const action = { label: t("reload"), run: this.reload };
    toast(t("languageLater"), action, { lasting: true });
  }

  #fill(name) {
    const { setting, input, problem } = this.#rows.get(name);
    const value = this.#read(name);
    const given = this.#fallback(setting);
    input.value = value ?? "";
    if (setting.type !== "choice") input.placeholder = String(given ?? t(`unset_${name}`));
    problem.textContent = "";
    input.removeAttribute("aria-invalid");
    this.#mark(name);
  }

  #mark(name) {
    const { setting, node, reset } = this.#rows.get(name);
    const value = this.#read(name);
    const changed = value !== undefined && value !== null && value !== setting.choices?.[0];
    node.classList.toggle("changed", changed);
    reset.disabled = !changed;
  }

  #typed(name) {
    const { setting, input, problem, reset } = this.#rows.get(name);
    const { value, problem: why } = parseSetting(setting, input.value);
    input.toggleAttribute("aria-invalid", Boolean(why));
    const { low, high } = setting;
    const range = high === undefined ? "settingFrom" : setting.openLow ? "settingAbove" : "settingRange";
    problem.textContent = why ? t(why === "outOfRange" ? range : why, { low, high }) : "";
    if (why) reset.disabled = false;
    else this.#store(name, value);
  }

  #presets() {
    const own = this.store.presets;
    const pick = (values) => {
      this.#write({ temperature: null, top_p: null, top_k: null, min_p: null, ...values });
      for (const name of this.#rows.keys()) this.#fill(name);
    };
    const chip = (text, values) =>
      h("button", { type: "button", class: "preset", text, on: { click: () => pick(values) } });
    const chips = PRESETS.map(({ name, values }) => h("li", {}, chip(t(name), values)));
    for (const { name, values } of own) {
      const off = iconButton("close", `${t("presetDelete")}: ${name}`, { class: "chip-off" });
      off.addEventListener("click", () => {
        this.store.drop("presets", name);
        this.#draw();
      });
      chips.push(h("li", { class: "own" }, chip(name, values), off));
    }
    const list = h("ul", { class: "presets", "aria-label": t("presets") }, ...chips);
    return h("div", { class: "preset-block" }, list, this.#presetForm());
  }

  #presetForm() {
    const name = /** @type {HTMLInputElement} */ (
      h("input", { class: "field", maxlength: 40, placeholder: t("presetName"),
        "aria-label": t("presetName"), "data-testid": "preset-name" }));
    const form = h("form", { class: "preset-form" }, name,
      h("button", { type: "submit", class: "button small plain", text: t("presetKeep") }));
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      const text = name.value.trim();
      if (!text) return name.focus();
      const { temperature, top_p, top_k, min_p, repetition_penalty } = this.values;
      const values = cleanSettings({ temperature, top_p, top_k, min_p, repetition_penalty });
      this.store.keep("presets", { name: text, values });
      this.#draw();
    });
    return form;
  }
}
