/** Speech in the page: the button beside the message box, entries of menus, and their parts. */
import { byId, h } from "../dom.js";
import { t } from "../strings.js";
import { Dictation } from "./dictation.js";
import { HandsFree } from "./hands_free.js";
import { ReadAloud } from "./read_aloud.js";
import { transcribeFile } from "./transcript.js";
import { voiceRows } from "./voice_settings.js";

class VoiceParts {
  /** @param {import("../app.js").App} app */
  constructor(app) {
    this.app = app;
    this.dictation = new Dictation(app, byId("dictate"));
    this.handsFree = new HandsFree(app);
    this.reading = new ReadAloud(app, this.handsFree);
    this.picker = /** @type {HTMLInputElement} */ (h("input", { type: "file", hidden: true,
      accept: "audio/*,video/mp4,.m4a,.mp3,.wav", "data-testid": "recording-picker" }));
    this.picker.addEventListener("change", () => {
      const [file] = this.picker.files;
      this.picker.value = "";
      if (file) transcribeFile(app, file);
    });
    document.body.append(this.picker);
    addEventListener("pagehide", () => {
      this.dictation.cancel();
      this.quiet();
    });
  }

  /** Entries for the menu beside the message box. */
  menu() {
    return [
      { label: t("transcribe"), icon: "wave", run: () => this.picker.click() },
      { label: t("handsFree"), icon: "sound", run: () => this.converse() },
    ];
  }

  /** Begin a conversation without hands; what is spoken otherwise ends. */
  converse() {
    this.dictation.cancel();
    this.reading.stop();
    this.app.stop();
    return this.handsFree.begin();
  }

  /** Ends what speaks, and a conversation. */
  quiet() {
    this.handsFree.end();
    this.reading.stop();
  }

  /** What Escape does, one after the other. @returns {boolean} whether there was something */
  stop() {
    return this.dictation.cancel() || this.handsFree.end() || this.reading.stop();
  }

  settings() {
    return voiceRows();
  }
}

/** @param {import("../app.js").App} app */
export function setUpVoice(app) {
  app.voice = new VoiceParts(app);
}
