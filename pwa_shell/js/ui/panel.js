/** A dialog over the page, made when it is opened and gone when it is closed. */
import { h, iconButton } from "./dom.js";
import { t } from "./strings.js";

/**
 * @param {string} title
 * @param {string} testId
 * @param {(Node|string|null)[]} children
 * @param {{wide?: boolean, onClose?: () => void}} [options]
 * @returns {HTMLDialogElement} open; the focus comes back when it closes
 */
export function openPanel(title, testId, children, { wide = false, onClose } = {}) {
  const close = iconButton("close", t("close"), { class: "ghost" });
  const heading = h("h2", { text: title, dir: "auto" });
  const dialog = /** @type {HTMLDialogElement} */ (
    h("dialog",
      { class: wide ? "panel wide" : "panel", "aria-label": title, "data-testid": testId },
      h("div", { class: "panel-head" }, heading, close), ...children));
  close.addEventListener("click", () => dialog.close());
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  dialog.addEventListener("keydown", (event) => {
    if (event.key === "Escape") event.stopPropagation(); // Escape also stops answers
  });
  dialog.addEventListener("close", () => {
    dialog.remove();
    onClose?.();
  });
  document.body.append(dialog);
  dialog.showModal();
  return dialog;
}
