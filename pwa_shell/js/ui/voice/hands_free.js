/**
 * A conversation without hands: listens, sends what was said, reads the answer aloud while it is
 * written, and falls silent at once when somebody speaks in between.
 */
import { FRAME, Microphone } from "../../audio/microphone.js";
import { VoiceActivity } from "../../audio/voice_activity.js";
import { h, iconButton } from "../dom.js";
import { isAbort } from "../problem.js";
import { t } from "../strings.js";
import { toast } from "../toast.js";
import { audioOf, beginHearing, voiceProblem } from "./ears.js";
import { LevelMeter } from "./level_meter.js";
import { Speaker } from "./speaker.js";
import { voiceSettings } from "./voice_settings.js";

const BEFORE = 15; // frames kept from before speech was found: 300 ms, so that no first sound is lost

/** @typedef {"opening"|"listening"|"hearing"|"writing"|"thinking"|"speaking"} Turn */

export class HandsFree {
  /** @type {AbortController|null} */
  #ending = null;
  #microphone = null; #activity = null; #audio = null; #session = null; #speaker = null;
  #before = []; #heard = ""; #pending = 0;

  /** @param {import("../app.js").App} app */
  constructor(app) {
    this.app = app;
    app.talk.on("begin", (run) => this.active && this.#answer(run));
  }

  get active() {
    return this.#ending !== null;
  }

  async begin() {
    if (this.active) return;
    const ending = (this.#ending = new AbortController());
    this.#show();
    try {
      await this.#open(ending);
    } catch (error) {
      if (ending.signal.aborted) return;
      this.end();
      if (!isAbort(error)) toast(voiceProblem(error));
    }
  }

  async #open({ signal }) {
    const microphone = await Microphone.open({ deviceId: voiceSettings().microphone, signal });
    if (signal.aborted) return microphone.close();
    this.#microphone = microphone;
    const activity = await VoiceActivity.create(FRAME);
    if (signal.aborted) return activity.close();
    this.#activity = activity;
    this.#audio = await audioOf(this.app);
    signal.throwIfAborted();
    microphone.on("level", (level) => this.meter.show(level));
    microphone.on("frame", (frame) => this.#frame(frame));
    microphone.on("lost", () => {
      toast(t("micLost"));
      this.end();
    });
    this.#turn("listening");
  }

  #frame(frame) {
    const change = this.#activity.push(frame);
    if (change === "begin") this.#begins();
    if (this.#session) this.#session.push(frame);
    else this.#before = [...this.#before.slice(1 - BEFORE), frame];
    if (change === "end") this.#ends();
  }

  /** Somebody speaks: what is said or written by us ends now. */
  #begins() {
    this.#speaker?.stop();
    this.#speaker = null;
    this.app.stop();
    const { signal } = this.#ending;
    const session = (this.#session = beginHearing(this.#audio,
      (text) => session === this.#session && this.#caption("captionYou", `${this.#heard} ${text}`),
      (error) => signal.aborted || toast(voiceProblem(error))));
    for (const frame of this.#before.splice(0)) session.push(frame);
    this.#turn("hearing");
  }

  async #ends() {
    const session = this.#session;
    const { signal } = this.#ending;
    this.#session = null;
    this.#pending++;
    this.#turn("writing");
    const text = await session.flush().catch((error) => {
      if (!signal.aborted && !isAbort(error)) toast(voiceProblem(error));
      return "";
    });
    if (signal.aborted) return;
    this.#pending--;
    this.#heard = `${this.#heard} ${text}`.trim();
    if (this.#session || this.#pending) return; // they went on after a pause
    this.#send();
  }

  #send() {
    const said = this.#heard;
    this.#heard = "";
    if (!said) return this.#turn("listening");
    this.#caption("captionYou", said);
    this.#turn("thinking");
    // An answer that was interrupted may still be ending.
    if (this.app.running) this.app.running.run.on("end", () => this.active && this.app.talk.send(said));
    else this.app.talk.send(said);
  }

  /** @param {import("../generation.js").Generation} run */
  #answer(run) {
    const speaker = (this.#speaker = new Speaker(this.app));
    const mine = () => this.#speaker === speaker;
    speaker.follow(run);
    speaker.on("caption", (text) => {
      if (!mine()) return;
      this.#turn("speaking");
      this.#caption("captionAnswer", text);
    });
    speaker.on("failed", (error) => toast(voiceProblem(error)));
    speaker.on("end", () => {
      if (!mine() || !this.active) return;
      this.#speaker = null;
      if (!this.#session && !this.#pending) this.#turn("listening");
    });
    speaker.run();
  }

  /** Stop the answer, and listen. */
  skip() {
    this.#speaker?.stop();
    this.#speaker = null;
    this.app.stop();
    if (!this.#session && !this.#pending) this.#turn("listening");
  }

  /** @returns {boolean} whether there was a conversation to end */
  end() {
    if (!this.active) return false;
    this.#ending.abort();
    this.#ending = null;
    this.#session?.cancel();
    this.#speaker?.stop();
    this.#microphone?.close();
    this.#activity?.close();
    this.#session = this.#speaker = this.#microphone = this.#activity = null;
    this.#before = [];
    this.#heard = "";
    this.#pending = 0;
    const focused = this.bar.contains(document.activeElement);
    this.bar.remove();
    if (focused) this.app.composer.area.focus();
    return true;
  }

  #show() {
    this.meter = new LevelMeter();
    this.state = h("p", { class: "voice-state", role: "status", "data-testid": "turn" });
    this.who = h("span", { class: "caption-who" });
    this.caption = h("span", { class: "caption-text", dir: "auto", "data-testid": "caption" });
    const captions = h("p", { class: "voice-text captions", "aria-label": t("captions") },
      this.who, this.caption);
    const skip = iconButton("stop", t("handsFreeSkip"), { class: "ghost", "data-testid": "turn-skip",
      on: { click: () => this.skip() } });
    const end = iconButton("close", t("handsFreeEnd"), { class: "ghost",
      "data-testid": "hands-free-end", on: { click: () => this.end() } });
    this.bar = h("div", { class: "voice-bar apart hands-free", role: "group",
      "aria-label": t("handsFree"), "data-testid": "hands-free" },
      this.meter.node, h("div", { class: "voice-lines" }, this.state, captions), skip, end);
    this.app.composer.form.before(this.bar);
    this.#turn("opening");
    end.focus();
  }

  /** @param {Turn} turn */
  #turn(turn) {
    this.turn = turn;
    this.bar.dataset.turn = turn;
    this.state.textContent = t(`turn_${turn}`);
  }

  #caption(who, text) {
    if (!voiceSettings().captions) return;
    this.who.textContent = t(who);
    this.caption.textContent = text.trim();
  }
}
