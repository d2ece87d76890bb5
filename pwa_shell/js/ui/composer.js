/**
 * The box where a person writes: grows with the text, takes text files, sends on Enter, turns into
 * Stop while an answer runs.
 */
import { LONG_PASTE, pastedFile, readTextFile } from "./attachments.js";
import { Emitter, byId } from "./dom.js";
import { fileChips } from "./file_chips.js";

const DRAFT_AFTER_MS = 400;

/**
 * Emits `send` ({text, files}), `stop`, `draft`, `note` (why a file was refused) and `late` ({draft, file}: one that was chosen
 * for a draft which has left the box since).
 */
export class Composer extends Emitter {
  /** @type {import("./chat_store.js").TextFile[]} */
  files = [];
  #draft = { left: null }; // what the box holds; `left`: its name once it holds another
  #timer = 0;
  #busy = false;

  constructor() {
    super();
    this.form = /** @type {HTMLFormElement} */ (byId("composer"));
    this.area = /** @type {HTMLTextAreaElement} */ (byId("prompt"));
    this.picker = /** @type {HTMLInputElement} */ (byId("file-picker"));
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
    this.#takeFiles();
  }

  #takeFiles() {
    this.picker.addEventListener("change", () => {
      this.addFiles([...this.picker.files]);
      this.picker.value = "";
    });
    this.area.addEventListener("paste", (event) => this.#paste(event));
  }

  /** @param {string} text @param {import("./chat_store.js").TextFile[]} [files] */
  set(text, files = []) {
    clearTimeout(this.#timer);
    this.area.value = text;
    this.#setFiles(files);
  }

  /** Make room for another draft. @param {string} name of the one that leaves */
  leave(name) {
    this.#draft.left = name;
    this.#draft = { left: null };
    this.set("");
  }

  /** Put a draft before what has been typed meanwhile. @param {{text: string, files: any[]}} draft */
  putBefore({ text, files }) {
    const typed = this.text;
    this.set(typed === text ? text : [text, typed].filter(Boolean).join("\n"), [
      ...files,
      ...this.files,
    ]);
  }

  get text() {
    return this.area.value;
  }

  /** Put text where the caret is. @param {string} text */
  insert(text) {
    this.area.focus();
    this.area.setRangeText(text, this.area.selectionStart, this.area.selectionEnd, "end");
    this.#input();
  }

  /** @param {File[]} files */
  async addFiles(files) {
    const draft = this.#draft;
    for (const file of files) {
      const { file: read, refused } = await readTextFile(file);
      if (refused) this.emit("note", refused);
      else if (draft.left !== null) this.emit("late", { draft: draft.left, file: read });
      else this.add(read);
    }
    if (draft.left === null) this.focus();
  }

  /** @param {import("./chat_store.js").TextFile} file */
  add(file) {
    this.#setFiles([...this.files, file]);
    this.emit("draft");
  }

  #setFiles(files) {
    this.files = files;
    const remove = (file) => {
      this.#setFiles(this.files.filter((other) => other !== file));
      this.emit("draft");
      this.area.focus();
    };
    byId("attached").replaceChildren(...[fileChips(files, remove)].filter(Boolean));
    this.#fit();
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

  #paste(event) {
    const files = [...(event.clipboardData?.files ?? [])];
    const text = event.clipboardData?.getData("text/plain") ?? "";
    if (text.length > LONG_PASTE) this.add(pastedFile(text, this.files));
    else if (files.length && !text) this.addFiles(files);
    else return;
    event.preventDefault();
  }

  #submit() {
    const text = this.area.value.trim();
    const { files } = this;
    if ((!text && !files.length) || this.#busy) return;
    this.set("");
    this.emit("draft");
    this.emit("send", { text, files });
  }

  #input() {
    this.#fit();
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.emit("draft"), DRAFT_AFTER_MS);
  }

  /** `field-sizing: content` does this in CSS where it exists. */
  #fit() {
    this.send.toggleAttribute("disabled", !this.area.value.trim() && !this.files.length);
    if (CSS.supports("field-sizing", "content")) return;
    this.area.style.height = "auto";
    this.area.style.height = `${this.area.scrollHeight}px`;
  }
}
