/**
 * A short note at the foot of the page, with at most one action; the last one wins. A lasting one
 * comes back after the others, until it is used or put away; css/layout.css hides it during an
 * answer.
 */
import { byId, h, iconButton } from "./dom.js";
import { t } from "./strings.js";

const SHOWN_MS = 7000;
let timer = 0;
/** @type {HTMLElement|null} */
let lasting = null;

/**
 * @param {string} text
 * @param {{label: string, run: () => void}} [action]
 * @param {{lasting?: boolean}} [options]
 */
export function toast(text, action, options = {}) {
  const root = byId("toast");
  clearTimeout(timer);
  const hide = () => root.replaceChildren(...(lasting ? [lasting] : []));
  const use = (run) => () => {
    if (options.lasting) lasting = null;
    hide();
    run?.();
  };
  const box = h("div", { class: "toast" }, h("span", { text }));
  if (action) {
    const on = { click: use(action.run) };
    box.append(h("button", { type: "button", class: "toast-action", text: action.label, on }));
  }
  if (options.lasting) {
    box.append(iconButton("close", t("later"), { class: "toast-close", on: { click: use() } }));
    box.classList.add("lasting");
    lasting = box;
  } else {
    timer = setTimeout(hide, SHOWN_MS);
  }
  root.replaceChildren(box);
}
