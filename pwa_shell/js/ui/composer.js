/**
 * The box where a person writes: grows with the text, sends on Enter, turns into Stop while an
 * answer runs.
 */
import { Emitter, byId } from "./dom.js";

const DRAFT_AFTER_MS = 400;

/** Emits `send` (string), `stop` and `draft` (string). */
export class Composer extends Emitter {
  #timer = 0;
  #busy = false;

  constructor() {
    super();
    this.form = /** @type {HTMLFormElement} */ (byId("composer"));
    this.area = /** @type {HTMLTextAreaElement} */ (byId("prompt"));
    this.send = byId("send");
    this.stop = byId("stop");
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#submit();
    });
    this.stop.addEventListener("click", () => this.emit("stop"));
    this.area.addEventListener("keydown", (event) => this.#key(event));
    this.area.addEventListener("input", () => this.#input());
    this.form.addEventListener("click", (event) => event.target === this.form && this.area.focus());
  }

  /** @param {string} text */
  setText(text) {
    clearTimeout(this.#timer);
    this.area.value = text;
    this.#fit();
  }

  get text() {
    return this.area.value;
  }

  /** @param {boolean} busy an answer is running */
  setBusy(busy) {
    this.#busy = busy;
    const hadFocus = [this.send, this.stop].includes(
      /** @type {HTMLElement} */ (document.activeElement),
    );
    this.stop.hidden = !busy;
    this.send.hidden = busy;
    // A button that is hidden drops the focus to the page.
    if (hadFocus) (busy ? this.stop : this.area).focus();
  }

  /** @param {string} text */
  setPlaceholder(text) {
    this.area.placeholder = text;
  }

  /** On a touch screen focus opens the keyboard, so only where there is a fine pointer. */
  focus() {
    if (matchMedia("(pointer: fine)").matches) this.area.focus();
  }

  /**
   * Enter that ends an IME composition chooses a word; it must not send. 229 is Safari's way to say
   * so.
   */
  #key(event) {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing || event.keyCode === 229)
      return;
    event.preventDefault();
    this.#submit();
  }

  #submit() {
    const text = this.area.value.trim();
    if (!text || this.#busy) return;
    this.setText("");
    this.emit("draft", "");
    this.emit("send", text);
  }

  #input() {
    this.#fit();
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.emit("draft", this.area.value), DRAFT_AFTER_MS);
  }

  /** `field-sizing: content` does this in CSS where it exists. */
  #fit() {
    this.send.toggleAttribute("disabled", !this.area.value.trim());
    if (CSS.supports("field-sizing", "content")) return;
    this.area.style.height = "auto";
    this.area.style.height = `${this.area.scrollHeight}px`;
  }
}
