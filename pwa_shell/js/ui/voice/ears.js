/** What the voice of the page needs of the engine: its ears, its errors in the page's language. */
import { RATE } from "../../audio/microphone.js";
import { problemLine } from "../problem.js";
import { t } from "../strings.js";

/** @param {import("../app.js").App} app @returns {Promise<any>} `audio` of the loaded engine */
export async function audioOf(app) {
  const engine = await app.session.ensure();
  if (!engine.audio) throw Object.assign(new Error(t("voiceUnavailable")), { told: true });
  return engine.audio;
}

/** @param {any} error @returns {string} what happened and what to do, in one line */
export function voiceProblem(error) {
  if (error?.told) return error.message;
  if (error?.code === "E_NO_MICROPHONE") return t(`mic_${error.facts.reason}`);
  return problemLine(error);
}

/**
 * A recording that goes on, written down as it comes.
 * @param {any} audio of `audioOf`
 * @param {(text: string) => void} onPartial all of it so far
 * @param {(error: any) => void} onError
 * @param {(share: number|null) => void} [onProgress] of a model that loads first
 */
export function beginHearing(audio, onPartial, onError, onProgress) {
  // Only a download is worth figures: the stages behind it overlap.
  const told = ({ stage, bytes_done: done, bytes_total: total }) =>
    onProgress?.(stage === "ready" ? 1 : stage === "download" && total ? done / total : null);
  return audio.transcriptions.session({
    sampleRate: RATE,
    onPartial: ({ text }) => onPartial(text),
    onError,
    onProgress: told,
  });
}
