/** A small menu beside the button that opens it. */
import { h, icon } from "./dom.js";

let opened = null;

/** @returns {boolean} whether there was one to close */
export function closeMenu() {
  const was = Boolean(opened);
  opened?.close();
  return was;
}

/**
 * @param {HTMLElement} anchor
 * @param {{label: string, icon: string, run: () => void, bad?: boolean}[]} items
 */
export function openMenu(anchor, items) {
  closeMenu();
  const menu = h("div", { class: "menu", role: "menu", "data-testid": "menu-list" });
  for (const item of items) {
    const button = h(
      "button",
      { type: "button", role: "menuitem", class: item.bad ? "bad" : null, tabindex: "-1" },
      icon(item.icon),
      h("span", { text: item.label }),
    );
    button.addEventListener("click", () => {
      opened?.close();
      item.run();
    });
    menu.append(button);
  }
  const outside = (event) => !menu.contains(event.target) && opened?.close();
  const close = () => {
    opened = null;
    document.removeEventListener("pointerdown", outside, true);
    removeEventListener("resize", close);
    anchor.setAttribute("aria-expanded", "false");
    const inside = menu.contains(document.activeElement);
    menu.remove();
    if (inside && anchor.isConnected) anchor.focus();
  };
  opened = { close };
  menu.addEventListener("keydown", (event) => onKey(event, menu, close));
  document.addEventListener("pointerdown", outside, true);
  addEventListener("resize", close);
  anchor.setAttribute("aria-haspopup", "menu");
  anchor.setAttribute("aria-expanded", "true");
  document.body.append(menu);
  place(menu, anchor.getBoundingClientRect());
  /** @type {HTMLElement} */ (menu.firstElementChild)?.focus();
}

/** Under the button or, where there is no room, above it; always on the screen. */
function place(menu, at) {
  const { offsetWidth: width, offsetHeight: height } = menu;
  const edge = 8;
  const start = document.dir === "rtl" ? at.right - width : at.left;
  const left = Math.max(edge, Math.min(start, innerWidth - width - edge));
  const below = at.bottom + 4 + height <= innerHeight - edge;
  menu.style.left = `${left}px`;
  menu.style.top = `${Math.max(edge, below ? at.bottom + 4 : at.top - height - 4)}px`;
}

function onKey(event, menu, close) {
  const items = [...menu.children];
  const at = items.indexOf(document.activeElement);
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (event.key === "Tab") return close();
  if (event.key === "Escape") close();
  else if (step) items[(at + step + items.length) % items.length].focus();
  else if (event.key === "Home") items[0].focus();
  else if (event.key === "End") items.at(-1).focus();
  else return;
  event.preventDefault();
  event.stopPropagation();
}
