/** A question before something that cannot be undone. */
import { h } from "./dom.js";
import { t } from "./strings.js";

/**
 * @param {{title: string, lines: string[], yes: string, no?: string}} question
 * @returns {Promise<boolean>}
 */
export function confirmed({ title, lines, yes, no = t("confirmCancel") }) {
  const refuse = h("button", { type: "button", class: "button plain", text: no });
  const agree = h("button",
    { type: "button", class: "button bad", text: yes, "data-testid": "confirm-yes" });
  const dialog = /** @type {HTMLDialogElement} */ (
    h("dialog", { class: "panel confirm", "aria-label": title, "data-testid": "confirm" },
      h("h2", { text: title }), ...lines.map((text) => h("p", { text })),
      h("div", { class: "confirm-foot" }, refuse, agree)));
  document.body.append(dialog);
  return new Promise((resolve) => {
    let answer = false;
    agree.addEventListener("click", () => {
      answer = true;
      dialog.close();
    });
    refuse.addEventListener("click", () => dialog.close());
    dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
    dialog.addEventListener("keydown", (event) => event.stopPropagation()); // Escape also stops
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(answer);
    });
    dialog.showModal();
    refuse.focus();
  });
}
