/**
 * Small helpers over the DOM. Nothing here takes HTML text: see markdown.js for the one place that
 * does.
 */

const SVG = "http://www.w3.org/2000/svg";

/**
 * Make an element. `class`, `text` and `on` (listeners) are special; a property with value `null`
 * or `false` is left out, `true` becomes an empty attribute, anything else an attribute.
 * @param {string} tag
 * @param {Record<string, any>} [props]
 * @param {...(Node|string|null)} children
 * @returns {HTMLElement}
 */
export function h(tag, props = {}, ...children) {
  const node = document.createElement(tag);
  for (const [key, value] of Object.entries(props)) {
    if (value === null || value === undefined || value === false) continue;
    if (key === "class") node.className = value;
    else if (key === "text") node.textContent = value;
    else if (key === "on")
      for (const [type, fn] of Object.entries(value)) node.addEventListener(type, fn);
    else node.setAttribute(key, value === true ? "" : String(value));
  }
  node.append(...children.filter((child) => child !== null));
  return node;
}

/**
 * An icon of the sprite in index.html.
 * @param {string} name
 * @returns {SVGSVGElement}
 */
export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS(SVG, "use");
  use.setAttribute("href", `#i-${name}`);
  svg.append(use);
  return svg;
}

/**
 * A button with an icon and a label that is read but not shown.
 * @param {string} name icon name
 * @param {string} label
 * @param {Record<string, any>} [props]
 * @returns {HTMLButtonElement}
 */
export function iconButton(name, label, props = {}) {
  return /** @type {HTMLButtonElement} */ (
    h("button", { type: "button", "aria-label": label, title: label, ...props }, icon(name))
  );
}

/**
 * @param {string} id
 * @returns {HTMLElement} the element with this id, which index.html must have
 */
export function byId(id) {
  const node = document.getElementById(id);
  if (!node) throw new Error(`index.html has no #${id}`);
  return node;
}

/**
 * @returns {string} 128 random bits in hex (`crypto.randomUUID` is missing in an insecure context)
 */
export function newId() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (b) => b.toString(16).padStart(2, "0")).join("");
}

/**
 * Copy text, by the clipboard API or, where that is refused, by the older selection command.
 * @param {string} text
 * @returns {Promise<boolean>} whether it worked
 */
export async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const area = /** @type {HTMLTextAreaElement} */ (
      h("textarea", { class: "offscreen", readonly: true })
    );
    area.value = text;
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    return done;
  }
}

/** A `Set` of listeners per event name: what the page's own objects use instead of EventTarget. */
export class Emitter {
  #listeners = new Map();

  /** @param {string} type @param {Function} fn @returns {() => void} removes the listener */
  on(type, fn) {
    if (!this.#listeners.has(type)) this.#listeners.set(type, new Set());
    this.#listeners.get(type).add(fn);
    return () => this.#listeners.get(type).delete(fn);
  }

  /** @param {string} type @param {any} [value] */
  emit(type, value) {
    for (const fn of [...(this.#listeners.get(type) ?? [])]) fn(value);
  }
}
