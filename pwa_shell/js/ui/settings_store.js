/** Settings for all chats, own presets and own prompts: small things kept in `localStorage`. */
import { Emitter } from "./dom.js";
import { cleanSettings } from "./settings_registry.js";

const KEYS = { settings: "jird.settings", presets: "jird.presets", prompts: "jird.prompts" };

/** @param {string} key @param {any} missing */
function read(key, missing) {
  try {
    return JSON.parse(localStorage.getItem(key) ?? "null") ?? missing;
  } catch {
    return missing; // blocked or damaged: as if nothing was kept
  }
}

/** @param {string} key @param {any} value */
function write(key, value) {
  try {
    localStorage.setItem(key, JSON.stringify(value));
  } catch {
    // Without storage it lasts until the tab closes.
  }
}

const isRow = (row) => typeof row?.name === "string" && row.name;

/** Emits `change` when this or another tab changed something. */
export class SettingsStore extends Emitter {
  constructor() {
    super();
    this.#load();
    addEventListener("storage", (event) => {
      if (!Object.values(KEYS).includes(event.key)) return;
      this.#load();
      this.emit("change");
    });
  }

  #load() {
    this.all = cleanSettings(read(KEYS.settings, {}));
    const rows = (key) => [read(key, [])].flat().filter(isRow);
    this.presets = rows(KEYS.presets).map(({ name, values }) => ({
      name,
      values: cleanSettings(values),
    }));
    this.prompts = rows(KEYS.prompts).filter(({ text }) => typeof text === "string");
  }

  /** @param {string} name @param {any} value null: back to the default */
  set(name, value) {
    this.all = { ...this.all };
    if (value === null) delete this.all[name];
    else this.all[name] = value;
    write(KEYS.settings, this.all);
    this.emit("change");
  }

  /** @param {"presets"|"prompts"} kind @param {{name: string}} row replaces one of the same name */
  keep(kind, row) {
    this[kind] = [...this[kind].filter(({ name }) => name !== row.name), row];
    write(KEYS[kind], this[kind]);
    this.emit("change");
  }

  /** @param {"presets"|"prompts"} kind @param {string} name */
  drop(kind, name) {
    this[kind] = this[kind].filter((row) => row.name !== name);
    write(KEYS[kind], this[kind]);
    this.emit("change");
  }
}
