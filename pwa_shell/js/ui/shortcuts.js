/**
 * Keyboard shortcuts: one table drives the keys, the list that `?` shows, and their tests. `mod` is
 * Cmd on Apple's systems, Ctrl elsewhere. A key without `mod` does nothing while a person types.
 */

/** @typedef {{keys: string, action: string}} Shortcut */

/** @type {Shortcut[]} */
export const SHORTCUTS = [
  { keys: "mod+shift+o", action: "new-chat" },
  { keys: "mod+k", action: "search" },
  { keys: "mod+b", action: "sidebar" },
  { keys: "mod+,", action: "settings" },
  { keys: "/", action: "write" },
  { keys: "mod+shift+d", action: "dictate" },
  { keys: "escape", action: "stop" },
  { keys: "?", action: "help" },
];

const APPLE = /Mac|iP(hone|ad|od)/.test(navigator.platform);
const NAMES = APPLE
  ? { mod: "⌘", shift: "⇧", alt: "⌥", escape: "esc", enter: "↩" }
  : { mod: "Ctrl", shift: "Shift", alt: "Alt", escape: "Esc", enter: "Enter" };

/** @param {string} keys @returns {string[]} as they stand on a keyboard */
export function spoken(keys) {
  return keys.split("+").map((key) => NAMES[key] ?? key.toUpperCase());
}

/** @param {KeyboardEvent} event @returns {string} in the table's spelling */
function spell(event) {
  const mod = APPLE ? event.metaKey : event.ctrlKey;
  const key = event.key.toLowerCase();
  const shift = event.shiftKey && key !== "?" && key !== "/"; // part of the sign on some keyboards
  return [mod && "mod", event.altKey && "alt", shift && "shift", key].filter(Boolean).join("+");
}

/** @param {EventTarget|null} target @returns {boolean} whether keys are letters there */
function takesText(target) {
  const node = /** @type {Element} */ (target);
  return Boolean(node?.closest?.("input, textarea, select, dialog, [contenteditable]"));
}

/**
 * @param {Record<string, () => boolean|void>} actions an action that returns false leaves the key
 *   to the browser
 */
export function listenForShortcuts(actions) {
  document.addEventListener("keydown", (event) => {
    if (event.isComposing || event.keyCode === 229) return;
    const row = SHORTCUTS.find((shortcut) => shortcut.keys === spell(event));
    if (!row || (row.keys.length === 1 && takesText(event.target))) return;
    if (actions[row.action]?.() !== false) event.preventDefault();
  });
}
