/** A short note at the foot of the page, with at most one action; the last one wins. */
import { byId, h } from "./dom.js";

const SHOWN_MS = 7000;
let timer = 0;

/**
 * @param {string} text
 * @param {{label: string, run: () => void}} [action]
 */
export function toast(text, action) {
  const root = byId("toast");
  clearTimeout(timer);
  const hide = () => root.replaceChildren();
  const button =
    action && h("button", { type: "button", class: "toast-action", text: action.label });
  button?.addEventListener("click", () => {
    hide();
    action?.run();
  });
  root.replaceChildren(h("div", { class: "toast" }, h("span", { text }), button ?? null));
  timer = setTimeout(hide, SHOWN_MS);
}
