/**
 * Formulas as MathML: the library is fetched at the first one. It makes a tree, of which only known
 * elements, attributes and plain values become DOM; no text of it is ever read as HTML.
 */
const MATHML = "http://www.w3.org/1998/Math/MathML";
/** Longer ones stay source: no reader needs them, and the page must not wait. */
const MAX_CHARS = 4000;
const MAX_DEPTH = 60;
const MAX_CACHED = 400;
/** No length of a formula may cover the page: the largest number of each unit. */
const MAX_SIZE = { em: 40, ex: 80, pt: 400, px: 600, mu: 700, "%": 200, "": 40 };
const TAGS = new Set(["math", "mrow", "mi", "mn", "mo", "ms", "mtext", "mspace", "mfrac", "msqrt",
  "mroot", "msup", "msub", "msubsup", "mover", "munder", "munderover", "mmultiscripts",
  "mprescripts", "none", "mtable", "mtr", "mtd", "mphantom", "mpadded", "menclose", "mstyle"]);
const WORDS = /^[\w #.+-]{1,40}$/;
const SIZES = new Set(["width", "height", "depth", "lspace", "rspace", "voffset", "minsize",
  "maxsize", "linethickness", "mathsize", "rowspacing", "columnspacing"]);
const ATTRIBUTES = new Set(["display", "displaystyle", "scriptlevel", "fence", "form", "stretchy",
  "symmetric", "largeop", "movablelimits", "separator", "accent", "accentunder", "notation",
  "mathvariant", "mathcolor", "mathbackground", "columnalign", "rowalign", "columnlines",
  "rowlines", "columnspan", "rowspan", "intent"]);
const STYLES = new Set(["paddingLeft", "paddingRight", "color", "backgroundColor", "textAlign",
  "borderLeft", "borderRight", "borderTop", "borderBottom", "border", "padding"]);

/** @type {any} */
let library = null;
/** @type {Promise<any>|null} */
let pending = null;
/** @type {Map<string, Element>} */
const made = new Map();

/**
 * Typeset the formulas under a node: at once where the library is here.
 * @param {ParentNode} node
 * @param {() => void} [then] called after formulas that had to wait changed their size
 */
export function typesetIn(node, then = () => {}) {
  const formulas = [...node.querySelectorAll(".math:not([data-set])")];
  if (!formulas.length) return;
  if (library) return formulas.forEach(typeset);
  pending ??= import("../../vendor/temml.js").then((module) => (library = module.default));
  pending.then(
    () => {
      formulas.forEach(typeset);
      then();
    },
    () => (pending = null), // the source stays, which can be read
  );
}

/** @param {Element} node holds TeX */
function typeset(node) {
  if (node.hasAttribute("data-set")) return;
  node.setAttribute("data-set", "");
  const tex = node.textContent ?? "";
  const display = node.classList.contains("display");
  try {
    node.replaceChildren(formula(tex, display).cloneNode(true));
  } catch {
    node.classList.add("tex"); // not TeX that the library knows
  }
}

/** @param {string} tex @param {boolean} display @returns {Element} throws what it cannot make */
function formula(tex, display) {
  const key = `${display} ${tex}`;
  let element = made.get(key);
  if (!element) {
    if (tex.length > MAX_CHARS) throw new RangeError("a formula this long stays source");
    const options = { displayMode: display, throwOnError: true, maxExpand: 500, trust: false };
    element = /** @type {Element} */ (build(library.__renderToMathMLTree(tex, options), 0));
    if (made.size >= MAX_CACHED) made.clear();
    made.set(key, element);
  }
  return element;
}

/** @param {any} tree a node of the library @param {number} depth @returns {Node} */
function build(tree, depth) {
  if (depth > MAX_DEPTH) throw new RangeError("a formula this deep stays source");
  if (typeof tree.text === "string") return document.createTextNode(tree.text);
  const node = TAGS.has(tree.type)
    ? document.createElementNS(MATHML, tree.type)
    : document.createDocumentFragment();
  if (node instanceof Element) dress(node, tree);
  node.append(...(tree.children ?? []).map((child) => build(child, depth + 1)));
  return node;
}

function dress(node, { attributes = {}, classes = [], style = {} }) {
  for (const [name, value] of Object.entries(attributes)) {
    const fits = SIZES.has(name) ? isSize(value) : ATTRIBUTES.has(name) && WORDS.test(value);
    if (fits) node.setAttribute(name, value);
  }
  const known = classes.filter((name) => /^[\w-]{1,30}$/.test(name));
  if (known.length) node.setAttribute("class", known.join(" "));
  for (const [name, value] of Object.entries(style)) {
    const fits = name === "width" ? /^\d{1,3}%$/ : STYLES.has(name) && WORDS;
    if (fits && fits.test(value)) node.style[name] = value;
  }
}

/** @param {string} value */
function isSize(value) {
  const [, number, unit] = /^(-?\d*\.?\d+)([a-z]{2}|%|)$/.exec(value) ?? [];
  return number !== undefined && Math.abs(Number(number)) <= (MAX_SIZE[unit] ?? 0);
}
