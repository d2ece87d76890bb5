/**
 * Markdown to sanitised DOM, block by block: the only place where text becomes HTML. A model's text
 * is hostile input: raw HTML is shown as text but for a few bare inline tags, then everything
 * passes DOMPurify with a short list of tags.
 */
import { Marked, marked } from "../../vendor/marked.js";
import DOMPurify from "../../vendor/dompurify.js";
import { h, icon } from "./dom.js";
import { typesetIn } from "./math.js";
import { mathExtension } from "./math_syntax.js";
import { t } from "./strings.js";

/**
 * @typedef {{type: string, raw: string, text?: string, lang?: string, [key: string]: any}} Token
 */
/** @typedef {{token: Token, start: number}} Block a top-level token and its offset in the text */
/** @typedef {Record<string, {href: string, title: string}>} Links link definitions by name */

const BARE_TAG = /<(\/?)(br|sub|sup|kbd|mark|u|s|b|i|em|strong)\s*(\/?)>/gi;
const SAFE_LINK = /^(?:https?:\/\/|mailto:)/i;
const PURIFY = {
  ALLOWED_TAGS: [
    "p",
    "br",
    "hr",
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "h6",
    "strong",
    "em",
    "b",
    "i",
    "u",
    "s",
    "del",
    "sub",
    "sup",
    "kbd",
    "mark",
    "code",
    "pre",
    "blockquote",
    "ul",
    "ol",
    "li",
    "a",
    "table",
    "thead",
    "tbody",
    "tr",
    "th",
    "td",
    "input",
    "span",
  ],
  ALLOWED_ATTR: ["href", "title", "class", "start", "align", "type", "checked", "disabled"],
  ALLOWED_URI_REGEXP: SAFE_LINK,
  // DOMPurify holds every value to the rule for addresses unless its attribute is listed here.
  ADD_URI_SAFE_ATTR: ["start", "align", "type", "checked", "disabled"],
  ALLOW_DATA_ATTR: false,
  ALLOW_ARIA_ATTR: false,
  RETURN_DOM_FRAGMENT: true,
};
const ESCAPES = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;" };

/** @param {string} text @returns {string} */
function escapeHtml(text) {
  return text.replace(/[&<>"']/g, (c) => ESCAPES[/** @type {keyof ESCAPES} */ (c)]);
}

const OWN = new Marked({ gfm: true, breaks: false, ...mathExtension(escapeHtml) });
const { hooks, ...OPTIONS } = OWN.defaults;

class Renderer extends marked.Renderer {
  /** Raw HTML is shown as it was written, except for tags that carry no attribute and no danger. */
  html({ text }) {
    let out = "";
    let last = 0;
    for (const match of text.matchAll(BARE_TAG)) {
      out += escapeHtml(text.slice(last, match.index)) + `<${match[1]}${match[2].toLowerCase()}>`;
      last = match.index + match[0].length;
    }
    return out + escapeHtml(text.slice(last));
  }

  /** An image is never fetched: its address would tell another host that this answer was read. */
  image({ href, text }) {
    const label = escapeHtml(text || t("image"));
    if (!SAFE_LINK.test(href)) return `<span class="no-image">${label}</span>`;
    const why = escapeHtml(t("imageBlocked"));
    return `<a class="no-image" href="${escapeHtml(href)}" title="${why}">${label}</a>`;
  }

  code({ text, lang }) {
    const name = (lang ?? "").match(/^[\w+#.-]{1,24}/)?.[0] ?? "";
    return `<pre><code class="language-${escapeHtml(name)}">${escapeHtml(text)}\n</code></pre>`;
  }
}

/**
 * The top-level blocks of a text, and apart from them its link definitions. Blank space is neither.
 * @param {string} text
 * @param {Links} [links] definitions that stand before the text
 * @returns {{blocks: Block[], defs: Block[]}}
 */
export function lexBlocks(text, links = {}) {
  const lexer = new marked.Lexer({ ...OPTIONS, hooks });
  Object.assign(lexer.tokens.links, links);
  const blocks = [];
  const defs = [];
  let start = 0;
  for (const token of lexer.lex(text)) {
    if (token.type === "def") defs.push({ token, start });
    else if (token.type !== "space") blocks.push({ token, start });
    start += token.raw.length;
  }
  return { blocks, defs };
}

/** @param {Token} token @returns {DocumentFragment} sanitised, with copy buttons and safe links */
export function renderToken(token) {
  const html = marked.Parser.parse([token], { ...OPTIONS, renderer: new Renderer() });
  const fragment = /** @type {any} */ (DOMPurify.sanitize(html, PURIFY));
  decorate(fragment);
  return fragment;
}

/** @param {DocumentFragment} fragment */
function decorate(fragment) {
  for (const link of fragment.querySelectorAll("a")) {
    if (!link.hasAttribute("href")) continue;
    link.setAttribute("target", "_blank");
    link.setAttribute("rel", "noopener noreferrer nofollow");
  }
  for (const pre of fragment.querySelectorAll("pre")) {
    const name = pre.firstElementChild?.className.replace("language-", "") ?? "";
    const copy = h(
      "button",
      { type: "button", class: "code-copy", "data-action": "copy-code" },
      icon("copy"),
      h("span", { text: t("copy") }),
    );
    const box = h(
      "div",
      { class: "code", dir: "ltr" },
      h(
        "div",
        { class: "code-head" },
        h("span", { class: "code-lang", text: name || t("code") }),
        copy,
      ),
    );
    pre.replaceWith(box);
    pre.setAttribute("tabindex", "0");
    box.append(pre);
  }
  for (const table of fragment.querySelectorAll("table")) {
    const box = h("div", { class: "table-box", tabindex: "0" });
    table.replaceWith(box);
    box.append(table);
  }
  typesetIn(fragment);
  for (const input of fragment.querySelectorAll("input")) {
    input.setAttribute("aria-label", t("task"));
    input.closest("li")?.classList.add("task");
  }
}

/**
 * Close what the end of an unfinished block leaves half typed, so that `**bold` or `[a](http` does
 * not flicker. Only for display while streaming: the closed block is rendered from the exact text.
 * @param {string} text
 * @returns {string}
 */
export function closeHalfTyped(text) {
  if (/^ {0,3}(\$\$|\\\[)/.test(text)) return text;
  const from = text.lastIndexOf("\n\n") + 1;
  let tail = text.slice(from);
  if (/^ {0,3}(```|~~~)/m.test(text)) return text;
  tail = tail
    .replace(/!?\[([^\]\n]*)\]\([^)\s]*$/, "$1")
    .replace(/(^|\s)(\*{1,3}|_{1,3}|`|~~)$/, "$1");
  if (count(tail, /`/g) % 2) return `${text.slice(0, from)}${tail}\``;
  const bare = tail.replace(/`[^`]*`/g, "");
  if (count(bare, /\*\*(?=\S)|(?<=\S)\*\*/g) % 2)
    tail += tail.endsWith("*") && !tail.endsWith("**") ? "*" : "**";
  return text.slice(0, from) + tail;
}

/** @param {string} text @param {RegExp} pattern @returns {number} */
function count(text, pattern) {
  return text.match(pattern)?.length ?? 0;
}
