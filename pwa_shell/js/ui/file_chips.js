/** Files beside a message, by name and size; a press shows what is in one. */
import { h, icon, iconButton } from "./dom.js";
import { formatBytes } from "./format.js";
import { openPanel } from "./panel.js";
import { t } from "./strings.js";

const SHOWN_CHARS = 50_000;

/**
 * @param {import("./chat_store.js").TextFile[]} files
 * @param {(file: any) => void} [onRemove] where one can be taken off again
 * @returns {HTMLElement|null} null where there is none
 */
export function fileChips(files, onRemove) {
  if (!files.length) return null;
  return h("ul", { class: "chips" }, ...files.map((file) => chip(file, onRemove)));
}

function chip(file, onRemove) {
  const open = h(
    "button",
    { type: "button", class: "chip-open", "data-testid": "chip", title: file.name },
    icon("file"),
    h("span", { class: "chip-name", dir: "auto", text: file.name }),
    h("span", { class: "chip-size", dir: "auto", text: formatBytes(file.bytes) }),
  );
  open.addEventListener("click", () => preview(file));
  const label = `${t("removeFile")}: ${file.name}`;
  const off = onRemove && iconButton("close", label, { class: "chip-off" });
  off?.addEventListener("click", () => onRemove(file));
  return h("li", { class: "chip" }, open, off ?? null);
}

function preview(file) {
  const cut = file.text.length > SHOWN_CHARS;
  const text = cut ? `${file.text.slice(0, SHOWN_CHARS)}…` : file.text;
  const body = h("pre", { class: "file-text", dir: "auto", tabindex: "0", text });
  openPanel(file.name, "file-panel", [body]);
}
