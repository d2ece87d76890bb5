/**
 * Keyboard shortcuts: one table drives the keys and their tests. `mod` is Cmd on Apple's systems,
 * Ctrl elsewhere.
 */

/** @typedef {{keys: string, action: string}} Shortcut */

/** @type {Shortcut[]} */
export const SHORTCUTS = [
  { keys: "mod+shift+o", action: "new-chat" },
  { keys: "mod+k", action: "search" },
  { keys: "mod+b", action: "sidebar" },
  { keys: "escape", action: "stop" },
];

const APPLE = /Mac|iP(hone|ad|od)/.test(navigator.platform);

/** @param {KeyboardEvent} event @returns {string} in the table's spelling */
function spell(event) {
  const mod = APPLE ? event.metaKey : event.ctrlKey;
  return [mod && "mod", event.altKey && "alt", event.shiftKey && "shift", event.key.toLowerCase()]
    .filter(Boolean)
    .join("+");
}

/**
 * @param {Record<string, () => boolean|void>} actions an action that returns false leaves the key
 *   to the browser
 */
export function listenForShortcuts(actions) {
  document.addEventListener("keydown", (event) => {
    if (event.isComposing || event.keyCode === 229) return;
    const row = SHORTCUTS.find((shortcut) => shortcut.keys === spell(event));
    if (row && actions[row.action]?.() !== false) event.preventDefault();
  });
}
