/**
 * Dictation into the message box: a short press begins and another ends it, a long one lasts as long
 * as it is held. Escape, or the cross, drops what was said.
 */
import { Microphone } from "../../audio/microphone.js";
import { h, iconButton } from "../dom.js";
import { isAbort } from "../problem.js";
import { t } from "../strings.js";
import { toast } from "../toast.js";
import { audioOf, beginHearing, voiceProblem } from "./ears.js";
import { LevelMeter } from "./level_meter.js";
import { voiceSettings } from "./voice_settings.js";

const HELD_MS = 350;

export class Dictation {
  /** @type {AbortController|null} while one is under way */
  #ending = null;
  #microphone = null; #session = null; #early = []; #pressed = 0; #finishing = false;

  /** @param {import("../app.js").App} app @param {HTMLElement} button */
  constructor(app, button) {
    this.app = app;
    this.button = button;
    button.addEventListener("pointerdown", (event) => event.button || this.#press());
    button.addEventListener("pointerup", () => this.#release());
    button.addEventListener("click", (event) => event.detail || this.toggle());
    button.addEventListener("contextmenu", (event) => this.active && event.preventDefault());
  }

  get active() {
    return this.#ending !== null;
  }

  #press() {
    this.#pressed = this.active ? 0 : performance.now();
    this.toggle();
  }

  #release() {
    if (this.#pressed && performance.now() - this.#pressed >= HELD_MS) this.finish();
  }

  toggle() {
    if (this.active) this.finish();
    else this.begin();
  }

  async begin() {
    if (this.active) return;
    this.app.voice.quiet(); // a microphone for one, and nothing that it would hear
    const ending = (this.#ending = new AbortController());
    this.#early = [];
    this.#finishing = false;
    this.#show();
    try {
      await this.#listen(ending);
    } catch (error) {
      this.#failed(error, ending);
    }
  }

  async #listen(ending) {
    const { signal } = ending;
    const microphone = await Microphone.open({ deviceId: voiceSettings().microphone, signal });
    if (signal.aborted) return microphone.close();
    this.#microphone = microphone;
    microphone.on("level", (level) => this.meter.show(level));
    microphone.on("frame", (frame) => (this.#session ? this.#session.push(frame) : this.#early.push(frame)));
    microphone.on("lost", () => {
      toast(t("micLost"));
      this.finish();
    });
    this.#say(t("listening"));
    this.app.announcer.say(t("listening"));
    const audio = await audioOf(this.app);
    signal.throwIfAborted();
    const loading = (share) => this.#loading(share);
    this.#session = beginHearing(audio, (text) => this.#heard(text),
      (error) => this.#failed(error, ending), loading);
    for (const frame of this.#early.splice(0)) this.#session.push(frame);
    if (this.#finishing) await this.#write(ending);
  }

  #loading(share) {
    if (this.#finishing) return;
    if (share === null) this.#say(t("earsLoading"));
    else if (share >= 1) this.#say(t("listening"));
    else this.#say(t("earsLoadingShare", { percent: Math.round(100 * share) }));
  }

  #heard(text) {
    if (text && this.active) this.#say(text);
  }

  /** Put what was said where the caret is. */
  async finish() {
    const ending = this.#ending;
    if (!ending || this.#finishing) return;
    this.#finishing = true;
    this.#say(t("writingDown"));
    this.bar.querySelector("[data-testid=dictation-done]").toggleAttribute("disabled", true);
    await this.#microphone?.close();
    if (this.#session) await this.#write(ending).catch((error) => this.#failed(error, ending));
  }

  async #write(ending) {
    const text = String((await this.#session.flush()) ?? "").trim();
    if (ending.signal.aborted) return;
    this.#close();
    if (!text) return toast(t("dictationEmpty"));
    this.#insert(text);
    this.app.announcer.say(t("inserted", { text }));
  }

  /** With a space between what is there and what comes. */
  #insert(text) {
    const { area } = this.app.composer;
    const before = area.value.slice(0, area.selectionStart);
    const after = area.value.slice(area.selectionEnd);
    const lead = before && !/\s$/.test(before) ? " " : "";
    this.app.composer.insert(lead + text + (after && !/^[\s.,;:!?)]/.test(after) ? " " : ""));
  }

  /** @returns {boolean} whether there was something to drop */
  cancel() {
    if (!this.active) return false;
    this.#ending.abort();
    this.#session?.cancel();
    this.#close();
    this.app.composer.focus();
    return true;
  }

  #failed(error, ending) {
    if (ending !== this.#ending) return;
    ending.abort();
    this.#session?.cancel();
    this.#close();
    if (!isAbort(error)) toast(voiceProblem(error));
  }

  #show() {
    this.meter = new LevelMeter();
    this.text = h("p", { class: "voice-text", dir: "auto", "data-testid": "dictation-text",
      text: t("micOpening") });
    const cancel = iconButton("close", t("dictationCancel"), { class: "ghost",
      "data-testid": "dictation-cancel", on: { click: () => this.cancel() } });
    const done = iconButton("check", t("dictationDone"), { class: "ghost",
      "data-testid": "dictation-done", on: { click: () => this.finish() } });
    this.bar = h("div", { class: "voice-bar", role: "group", "aria-label": t("dictation"),
      "data-testid": "dictation" }, this.meter.node, this.text, cancel, done);
    this.app.composer.form.prepend(this.bar);
    this.button.setAttribute("aria-pressed", "true");
  }

  #say(text) {
    if (this.text) this.text.textContent = text;
  }

  #close() {
    const focused = this.bar?.contains(document.activeElement);
    this.#microphone?.close();
    this.#ending = this.#microphone = this.#session = null;
    this.bar?.remove();
    this.button.setAttribute("aria-pressed", "false");
    if (focused) this.app.composer.area.focus();
  }
}
