/** A recording written down: its text with times, to read, copy, keep, or put into the message. */
import { copyText, h } from "../dom.js";
import { openPanel } from "../panel.js";
import { isAbort } from "../problem.js";
import { saveFile } from "../save_file.js";
import { t } from "../strings.js";
import { toast } from "../toast.js";
import { audioOf, voiceProblem } from "./ears.js";

/** @typedef {{start: number, end: number, text: string}} Segment seconds */

/** @param {number} seconds @returns {string} e.g. "1:04" or "1:00:04" */
export function clock(seconds) {
  const whole = Math.floor(seconds);
  const two = (n) => String(n).padStart(2, "0");
  const [hours, minutes] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60];
  return hours ? `${hours}:${two(minutes)}:${two(whole % 60)}` : `${minutes}:${two(whole % 60)}`;
}

/** @param {Segment[]} segments @returns {string} SubRip subtitles */
export function subtitles(segments) {
  const stamp = (seconds) => {
    const ms = Math.round(1000 * seconds);
    return `${new Date(ms).toISOString().slice(11, 19)},${String(ms % 1000).padStart(3, "0")}`;
  };
  return segments.map(({ start, end, text }, i) =>
    `${i + 1}\n${stamp(start)} --> ${stamp(end)}\n${text.trim()}\n`).join("\n");
}

/** @param {import("../app.js").App} app @param {File} file */
export async function transcribeFile(app, file) {
  const ending = new AbortController();
  const state = h("p", { class: "soft", role: "status", text: t("transcribing", { name: file.name }) });
  const dialog = openPanel(t("transcriptOf", { name: file.name }), "transcript", [state],
    { wide: true, onClose: () => ending.abort() });
  try {
    const { signal } = ending;
    const audio = await audioOf(app);
    const body = { file, response_format: "verbose_json", timestamp_granularities: ["segment"] };
    const { segments } = await audio.transcriptions.create(body, { signal });
    signal.throwIfAborted();
    if (segments.length) state.replaceWith(...shown(app, dialog, file, segments));
    else state.textContent = t("transcriptEmpty");
  } catch (error) {
    if (isAbort(error) || ending.signal.aborted) return;
    state.setAttribute("role", "alert");
    state.textContent = voiceProblem(error);
  }
}

/** @param {Segment[]} segments */
function shown(app, dialog, file, segments) {
  const text = segments.map((segment) => segment.text.trim()).join("\n");
  const name = file.name.replace(/\.\w+$/, "");
  const button = (key, id, run) => h("button", { type: "button", class: "button small plain",
    text: t(key), "data-testid": id, on: { click: run } });
  const insert = () => {
    dialog.close();
    app.composer.insert(text);
  };
  const copy = async () => toast(t((await copyText(text)) ? "copied" : "copyFailed"));
  const rows = segments.map((segment) => h("li", {},
    h("time", { datetime: `PT${segment.start.toFixed(2)}S`, text: clock(segment.start) }),
    h("span", { dir: "auto", text: segment.text.trim() })));
  return [h("ol", { class: "transcript", "data-testid": "transcript-lines" }, ...rows),
    h("div", { class: "transfer-buttons" },
      button("transcriptInsert", "transcript-insert", insert), button("transcriptCopy", "transcript-copy", copy),
      button("transcriptSaveText", "transcript-text", () => saveFile(`${name}.txt`, [text], "text/plain")),
      button("transcriptSaveSrt", "transcript-srt",
        () => saveFile(`${name}.srt`, [subtitles(segments)], "application/x-subrip")))];
}
