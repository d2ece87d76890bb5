/**
 * Every text that the page shows, by key, in the language that `before_paint.js` chose. English is
 * always there; another language is read before the page is drawn, so `t` must not be called while
 * modules load. Texts are in `lang/<language>/`; docs/architecture.md says how one is added.
 */
import { formatBytes } from "./format.js";
import ENGLISH, { errors as ENGLISH_ERRORS } from "./lang/en/index.js";
import { LANGUAGES } from "./lang/languages.js";

/** @typedef {keyof typeof ENGLISH} Key */
/** @typedef {string|Partial<Record<Intl.LDMLPluralRule, string>>} Text one, or one a plural form */

const STORED = "jird.language";

/** @type {Record<string, Text>} */
let texts = ENGLISH;
/** @type {Record<string, string[]>} by code; an English error brings most of its texts itself */
let errors = ENGLISH_ERRORS;
let plurals = new Intl.PluralRules("en");

/** @returns {string} the code of the page's language, e.g. "de" */
export function language() {
  return document.documentElement.lang;
}

/** @returns {string} what the person chose: a language's code, or "auto" for the browser's */
export function chosenLanguage() {
  try {
    return localStorage.getItem(STORED) ?? "auto";
  } catch {
    return "auto";
  }
}

/** @param {string} code or "auto"; it holds from the next load of the page on */
export function chooseLanguage(code) {
  try {
    if (code === "auto") localStorage.removeItem(STORED);
    else localStorage.setItem(STORED, code);
  } catch {
    // Without storage the browser's language stays.
  }
}

/** Read the page's language and put its texts into the page; once, before anything is drawn. */
export async function setUpLanguage() {
  const root = document.documentElement;
  const { load, dir } = LANGUAGES[root.lang];
  try {
    if (load) ({ default: texts, errors } = await load());
    root.dir = dir;
  } catch {
    root.lang = "en"; // its texts could not be fetched
  }
  plurals = new Intl.PluralRules(root.lang);
  if (texts !== ENGLISH) translatePage();
  delete root.dataset.translating;
}

/** Texts that stand in the HTML, in English: `data-t` names the key, `data-t-title` a title's. */
function translatePage() {
  for (const node of document.querySelectorAll("[data-t]")) node.textContent = t(node.dataset.t);
  for (const name of ["aria-label", "title", "placeholder", "content"]) {
    for (const node of document.querySelectorAll(`[data-t-${name}]`)) {
      node.setAttribute(name, t(/** @type {Key} */ (node.getAttribute(`data-t-${name}`))));
    }
  }
}

/**
 * @param {Key} key
 * @param {Record<string, any>} [facts] what stands for `{name}`; numbers as the language writes
 *   them, and `count` chooses the plural form
 * @returns {string} undefined for a key that is made of data and that no text has
 */
export function t(key, facts) {
  const text = texts[key];
  const form = typeof text === "object" && plurals.select(facts.count);
  const chosen = form ? (text[form] ?? text.other) : text;
  return facts ? fill(chosen, facts) : chosen;
}

/** @param {string} text @param {Record<string, any>} facts */
function fill(text, facts) {
  return text.replace(/\{(\w+)\}/g, (_, name) => shown(facts[name]));
}

/**
 * An error in the page's language. What no table knows, or lacks a fact, stays as it came.
 * @param {import("./problem.js").Problem} problem
 * @returns {{what: string, nextStep: string}}
 */
export function told({ code, message, nextStep, facts = {} }) {
  const given = [message, nextStep];
  const row = Object.hasOwn(errors, code) ? errors[code] : [];
  facts = { ...facts, ...sizes(facts) };
  const has = (text) => [...text.matchAll(/\{(\w+)\}/g)].every(([, name]) => name in facts);
  const [what, next] = given.map((text, i) => (row[i] && has(row[i]) ? fill(row[i], facts) : text));
  return { what, nextStep: next };
}

/** What errors give in bytes, as people read it. @param {Record<string, any>} facts */
function sizes({ needed, available }) {
  const given = Object.entries({ needed, available });
  return Object.fromEntries(given.filter(([, bytes]) => typeof bytes === "number")
    .map(([name, bytes]) => [name, formatBytes(bytes)]));
}

/** @param {number} value @param {number} [digits] behind the point @returns {string} */
export function number(value, digits) {
  const options = { minimumFractionDigits: digits, maximumFractionDigits: digits ?? 20 };
  return value.toLocaleString(language(), options);
}

const shown = (value) => (typeof value === "number" ? number(value) : String(value));
