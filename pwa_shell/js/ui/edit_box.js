/** A question that is being written anew. */
import { h } from "./dom.js";
import { t } from "./strings.js";

/**
 * @param {string} text
 * @param {(text: string|null) => void} done null: nothing changed
 * @returns {HTMLElement & {begin: () => void}} `begin` gives it the focus
 */
export function editBox(text, done) {
  const area = /** @type {HTMLTextAreaElement} */ (
    h("textarea", { class: "edit-area", dir: "auto", rows: 2, "aria-label": t("edit") })
  );
  area.value = text;
  const send = h("button", { type: "submit", class: "button small", text: t("send") });
  const cancel = h("button", { type: "button", class: "button small plain", text: t("cancel") });
  const form = /** @type {any} */ (
    h("form", { class: "edit-box", "data-testid": "edit-box" }, area,
      h("div", { class: "edit-foot" }, cancel, send)));
  const fit = () => {
    if (CSS.supports("field-sizing", "content")) return;
    area.style.height = "auto";
    area.style.height = `${area.scrollHeight}px`;
  };
  const submit = () => {
    const value = area.value.trim();
    if (value) done(value === text.trim() ? null : value);
  };
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    submit();
  });
  cancel.addEventListener("click", () => done(null));
  area.addEventListener("input", fit);
  area.addEventListener("keydown", (event) => {
    if (event.isComposing || event.keyCode === 229) return;
    if (event.key === "Escape") {
      event.stopPropagation(); // Escape also stops answers
      done(null);
    } else if (event.key === "Enter" && !event.shiftKey) {
      event.preventDefault();
      submit();
    }
  });
  form.begin = () => {
    fit();
    area.focus();
    area.setSelectionRange(area.value.length, area.value.length);
  };
  return form;
}
