/**
 * Code colours, in idle slices: the library is fetched at the first code block, the DOM is built
 * without HTML parsing.
 */

/**
 * Larger blocks stay plain: the library colours a block in one piece, at about 1 MB/s on a phone.
 */
const MAX_CHARS = 20_000;
const ENTITIES = { "&amp;": "&", "&lt;": "<", "&gt;": ">", "&quot;": '"', "&#x27;": "'" };

/** @type {any} */
let library = null;
/** @type {Promise<any>|null} */
let pending = null;

/** @param {() => void} then called when the library is there */
function fetchLibrary(then) {
  pending ??= import("../../vendor/highlight.js").then((module) => (library = module.default));
  // Colours are an extra: without the library the code stays readable.
  pending.then(then, () => (pending = null));
}

/**
 * Colour every code block under a node.
 * @param {HTMLElement} node
 * @param {import("./idle_queue.js").IdleQueue} queue
 */
export function highlightIn(node, queue) {
  const codes = [...node.querySelectorAll("pre > code")].filter(
    (code) => !code.hasAttribute("data-lit"),
  );
  for (const code of codes) {
    const language = code.className.replace("language-", "");
    if (!language || (code.textContent ?? "").length > MAX_CHARS) continue;
    if (library) queue.add(colour(/** @type {HTMLElement} */ (code), language));
    else fetchLibrary(() => queue.add(colour(/** @type {HTMLElement} */ (code), language)));
  }
}

/** @param {HTMLElement} code @param {string} language @returns {Generator<void>} */
function* colour(code, language) {
  if (!library.getLanguage(language) || code.hasAttribute("data-lit")) return;
  const html = library.highlight(code.textContent ?? "", { language, ignoreIllegals: true }).value;
  yield;
  const built = document.createDocumentFragment();
  yield* buildSpans(html, built);
  code.replaceChildren(built);
  code.setAttribute("data-lit", "");
}

/**
 * The library's output is nested `<span class>` and escaped text only, so a tokenizer of one
 * expression reads it, and nothing else could come of it.
 * @param {string} html
 * @param {Node} root
 * @returns {Generator<void>}
 */
function* buildSpans(html, root) {
  const stack = [root];
  let steps = 0;
  for (const [part, name] of html.matchAll(/<span class="([^"]*)">|<\/span>|[^<]+/g)) {
    const top = stack[stack.length - 1];
    if (name !== undefined) {
      const span = document.createElement("span");
      span.className = name;
      top.appendChild(span);
      stack.push(span);
    } else if (part === "</span>") {
      if (stack.length > 1) stack.pop();
    } else {
      top.appendChild(document.createTextNode(part.replace(/&[#\w]+;/g, (e) => ENTITIES[e] ?? e)));
    }
    if (++steps % 200 === 0) yield;
  }
}
