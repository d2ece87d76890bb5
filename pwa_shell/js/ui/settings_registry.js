/**
 * The settings of a chat: one table from which the panel, the request and the checks are made. The
 * ranges are those of app/settings.py (a test compares them). A value of the chat goes before one
 * for all chats, and that before the model's own default.
 */

import { LANGUAGES } from "./lang/languages.js";

/**
 * @typedef {{name: string, type: "text"|"float"|"int"|"choice", low?: number, high?: number,
 *   step?: number, openLow?: boolean, choices?: string[], label: string, help: string, scope:
 *   "chat"|"global", slow?: boolean}} Setting `label` and `help` are keys of the texts; `global`
 *   settings have no value per chat; `slow` ones load the model again
 */

/** @param {string} name @param {Partial<Setting>} rest @returns {Setting} */
const row = (name, rest) =>
  Object.freeze({ name, scope: "chat", label: `set_${name}`, help: `help_${name}`, ...rest });

/** @type {Setting[]} */
export const SETTINGS = [
  row("system", { type: "text" }),
  row("temperature", { type: "float", low: 0, high: 2, step: 0.1 }),
  row("top_p", { type: "float", low: 0, high: 1, step: 0.05, openLow: true }),
  row("top_k", { type: "int", low: 0, high: 2 ** 31 - 1, step: 1 }),
  row("min_p", { type: "float", low: 0, high: 1, step: 0.01 }),
  row("repetition_penalty", { type: "float", low: 0, high: 10, step: 0.05, openLow: true }),
  row("max_tokens", { type: "int", low: 1, step: 1 }),
  row("seed", { type: "int", low: 0, high: 2 ** 32 - 1, step: 1 }),
  row("context", { type: "int", low: 128, step: 128, scope: "global", slow: true }),
  row("theme", { type: "choice", choices: ["system", "light", "dark"], scope: "global" }),
  row("language", { type: "choice", choices: ["auto", ...Object.keys(LANGUAGES)], scope: "global" }),
];

/** What is a parameter of a request under its own name. */
const PARAMETERS = SETTINGS.filter(
  ({ name, scope }) => scope === "chat" && name !== "system" && name !== "max_tokens",
).map(({ name }) => name);

/** Sets of values under a name; `null` stands for the model's own. */
export const PRESETS = [
  { name: "presetModel", values: { temperature: null, top_p: null, top_k: null, min_p: null } },
  { name: "presetExact", values: { temperature: 0, top_p: null, top_k: null, min_p: null } },
  { name: "presetCareful", values: { temperature: 0.3, top_p: 0.9, top_k: null, min_p: null } },
  { name: "presetFree", values: { temperature: 1, top_p: null, top_k: null, min_p: 0.05 } },
];

/**
 * @param {Setting} setting
 * @param {string} text as it was typed
 * @returns {{value?: any, problem?: "notNumber"|"notInteger"|"outOfRange"}} `value` null: not set
 */
export function parseSetting(setting, text) {
  if (setting.type === "text") return { value: text.trim() ? text : null };
  const typed = text.trim();
  if (!typed) return { value: null };
  if (setting.type === "choice") {
    return setting.choices.includes(typed) ? { value: typed } : { problem: "outOfRange" };
  }
  const value = Number(typed.replace(",", "."));
  if (!Number.isFinite(value)) return { problem: "notNumber" };
  if (setting.type === "int" && !Number.isSafeInteger(value)) return { problem: "notInteger" };
  const { low = -Infinity, high = Infinity, openLow } = setting;
  if (value < low || value > high || (openLow && value === low)) return { problem: "outOfRange" };
  return { value };
}

/** Only known settings with values that would be accepted. @param {any} given */
export function cleanSettings(given) {
  const kept = {};
  for (const setting of SETTINGS) {
    const value = given?.[setting.name];
    if (value === null || value === undefined) continue;
    if (typeof value !== (["text", "choice"].includes(setting.type) ? "string" : "number")) continue;
    const parsed = parseSetting(setting, String(value));
    if (parsed.value !== undefined && parsed.value !== null) kept[setting.name] = parsed.value;
  }
  return kept;
}

/**
 * @param {Record<string, any>} chat settings of the chat
 * @param {Record<string, any>} all settings for all chats
 * @param {{sampling: Record<string, any>, maxTokens: number}} model
 * @returns {{system: string, params: Record<string, any>}} what a request carries; a parameter that
 *   nobody set is left to the model
 */
export function requestSettings(chat, all, model) {
  const pick = (name) => chat[name] ?? all[name];
  const params = { ...model.sampling };
  for (const name of PARAMETERS) {
    const value = pick(name);
    if (value !== undefined && value !== null) params[name] = value;
  }
  params.max_tokens = pick("max_tokens") ?? model.maxTokens;
  return { system: (pick("system") ?? "").trim(), params };
}
