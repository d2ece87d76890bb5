/** What a person chose for speech, kept in `localStorage`, and its rows of the settings. */
import { microphones } from "../../audio/microphone.js";
import { h } from "../dom.js";
import { t } from "../strings.js";

const KEY = "jird.voice";

/**
 * @typedef {{microphone: string, speaker: string, auto: boolean, captions: boolean}} Voice
 *   `microphone`: a device id, `speaker`: a voice's name; empty is the browser's or the model's own
 */

/** @type {Voice} */
const DEFAULTS = { microphone: "", speaker: "", auto: false, captions: true };

/** @returns {Voice} */
export function voiceSettings() {
  let kept = null;
  try {
    kept = JSON.parse(localStorage.getItem(KEY) ?? "null");
  } catch {
    // Blocked or damaged: as if nothing was kept.
  }
  const right = ([name, value]) => typeof value === typeof DEFAULTS[name];
  return { ...DEFAULTS, ...Object.fromEntries(Object.entries(kept ?? {}).filter(right)) };
}

/** @param {Partial<Voice>} changes */
function keep(changes) {
  try {
    localStorage.setItem(KEY, JSON.stringify({ ...voiceSettings(), ...changes }));
  } catch {
    // Then the defaults stay.
  }
}

/** @returns {HTMLElement} the rows, which keep what is chosen in them at once */
export function voiceRows() {
  return h("section", { class: "setting voice-rows", "aria-label": t("voiceSettings") },
    h("p", { class: "setting-title", text: t("voiceSettings") }), microphoneRow(), speakerRow(),
    switchRow("auto", "voiceAuto"), switchRow("captions", "voiceCaptions"));
}

function labelled(input, text) {
  return h("div", { class: "setting-head" }, h("label", { for: input.id, text }), input);
}

function microphoneRow() {
  const id = "voice-microphone";
  const select = /** @type {HTMLSelectElement} */ (
    h("select", { id, class: "field", "data-testid": id }));
  select.append(h("option", { value: "", text: t("voiceMicrophoneDefault") }));
  select.addEventListener("change", () => keep({ microphone: select.value }));
  microphones().then((found) => {
    found.filter((one) => one.id && one.id !== "default").forEach((one, i) => {
      const text = one.label || t("voiceMicrophoneNamed", { number: i + 1 });
      select.append(h("option", { value: one.id, text }));
    });
    const { microphone } = voiceSettings();
    select.value = found.some((one) => one.id === microphone) ? microphone : "";
  }, () => {});
  return labelled(select, t("voiceMicrophone"));
}

function speakerRow() {
  const id = "voice-speaker";
  const input = /** @type {HTMLInputElement} */ (h("input", { id, class: "field", type: "text",
    maxlength: 80, autocomplete: "off", spellcheck: "false", "data-testid": id,
    "aria-describedby": `${id}-help`, value: voiceSettings().speaker }));
  input.addEventListener("input", () => keep({ speaker: input.value.trim() }));
  return h("div", {}, labelled(input, t("voiceSpeaker")),
    h("p", { class: "setting-help", id: `${id}-help`, text: t("voiceSpeakerHelp") }));
}

/** @param {"auto"|"captions"} name */
function switchRow(name, key) {
  const box = /** @type {HTMLInputElement} */ (h("input", { type: "checkbox",
    "data-testid": `voice-${name}`, checked: voiceSettings()[name] }));
  box.addEventListener("change", () => keep({ [name]: box.checked }));
  return h("label", { class: "voice-switch" }, box, h("span", { text: t(key) }));
}
