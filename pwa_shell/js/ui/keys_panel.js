/** The table of keys, as it is. */
import { h } from "./dom.js";
import { openPanel } from "./panel.js";
import { SHORTCUTS, spoken } from "./shortcuts.js";
import { t } from "./strings.js";

/** Keys of the message box itself. */
const BOX = [
  { keys: "enter", action: "send" },
  { keys: "shift+enter", action: "line" },
];

export function openKeys() {
  if (document.querySelector("[data-testid=keys-panel]")) return;
  const rows = [...SHORTCUTS, ...BOX];
  const row = ({ keys, action }) =>
    h("tr", {}, h("th", { scope: "row", text: t(`key_${action}`) }),
      h("td", {}, ...spoken(keys).map((text) => h("kbd", { text }))));
  openPanel(t("keys"), "keys-panel", [h("table", { class: "keys" }, h("tbody", {}, ...rows.map(row)))]);
}
