/** Answers read aloud: one by its button, or each as it is written. */
import { Sentences } from "../../audio/sentences.js";
import { fileName } from "../chat_files.js";
import { h, iconButton } from "../dom.js";
import { splitThought } from "../reasoning.js";
import { saveFile } from "../save_file.js";
import { t } from "../strings.js";
import { toast } from "../toast.js";
import { audioOf, voiceProblem } from "./ears.js";
import { Speaker } from "./speaker.js";
import { voiceSettings } from "./voice_settings.js";

/** @param {string} text markdown of an answer, thoughts included @returns {string[]} */
function sentencesOf(text) {
  const sentences = new Sentences();
  return [...sentences.grow(splitThought(text).answer), ...sentences.end()];
}

export class ReadAloud {
  /** @type {{speaker: Speaker, id: string}|null} what is read now */
  #now = null;

  /** @param {import("../app.js").App} app @param {{active: boolean}} handsFree which reads itself */
  constructor(app, handsFree) {
    this.app = app;
    app.talk.on("begin", (run) => {
      this.stop();
      if (voiceSettings().auto && !handsFree.active) this.#begin(run.message.id).follow(run);
    });
  }

  /** Read a message, or stop reading it. @param {string} id */
  toggle(id) {
    const same = this.#now?.id === id;
    this.stop();
    if (same) return;
    const sentences = sentencesOf(this.app.talk.message(id)?.text ?? "");
    if (!sentences.length) return toast(t("nothingToRead"));
    const speaker = this.#begin(id);
    speaker.say(sentences);
    speaker.finish();
  }

  /** @returns {boolean} whether something was read */
  stop() {
    const was = this.#now;
    was?.speaker.stop();
    this.#ended(was);
    return was !== null;
  }

  #begin(id) {
    const speaker = new Speaker(this.app);
    const now = (this.#now = { speaker, id });
    const caption = h("p", { class: "voice-text", dir: "auto", "data-testid": "caption" });
    const stop = iconButton("stop", t("readStop"), { class: "ghost", "data-testid": "read-stop",
      on: { click: () => this.stop() } });
    this.bar = h("div", { class: "voice-bar apart", role: "group", "aria-label": t("readAloud"),
      "data-testid": "reading" }, caption, stop);
    this.app.composer.form.before(this.bar);
    speaker.on("caption", (text) => (caption.textContent = voiceSettings().captions ? text : ""));
    speaker.on("failed", (error) => toast(voiceProblem(error)));
    speaker.on("end", () => this.#ended(now));
    this.#mark(id, true);
    speaker.run();
    return speaker;
  }

  #ended(now) {
    if (!now || now !== this.#now) return;
    this.#now = null;
    this.bar.remove();
    this.#mark(now.id, false);
  }

  /** The message's own button says what it does next. */
  #mark(id, on) {
    const button = this.app.view.view(id)?.node.querySelector("[data-action=speak]");
    if (!button) return;
    button.setAttribute("aria-label", t(on ? "readStop" : "readAloud"));
    button.title = t(on ? "readStop" : "readAloud");
    button.toggleAttribute("data-on", on);
    button.querySelector("use").setAttribute("href", on ? "#i-stop" : "#i-sound");
  }

  /** A message as a WAV file. @param {string} id */
  async save(id) {
    const sentences = sentencesOf(this.app.talk.message(id)?.text ?? "");
    if (!sentences.length) return toast(t("nothingToRead"));
    const { speaker } = voiceSettings();
    toast(t("speechSaving"));
    try {
      const audio = await audioOf(this.app);
      const body = { input: sentences.join(" "), response_format: "wav" };
      const sound = await audio.speech.create(speaker ? { ...body, voice: speaker } : body);
      saveFile(fileName(sentences[0], "wav"), [await sound.blob()], "audio/wav");
    } catch (error) {
      toast(t("speechFailed", { detail: voiceProblem(error) }));
    }
  }
}
