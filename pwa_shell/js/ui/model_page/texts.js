/** What the Models page says of a model: pure functions of its row, its progress and its fit. */
import { formatBytes, formatEta } from "../format.js";
import { language, t } from "../strings.js";

/** @param {number} done @param {number} total @returns {string} never 100% before the end */
function percentOf(done, total) {
  const percent = total ? Math.min(done < total ? 99 : 100, Math.floor((100 * done) / total)) : 0;
  return (percent / 100).toLocaleString(language(), { style: "percent" });
}

/** @returns {string} the state of a stored row, or of what is under way */
export function stateText(row, activity) {
  if (activity) return t(`state${capital(activity.stage)}`);
  const names = { complete: "stateComplete", damaged: "stateDamaged", broken: "stateBroken" };
  const key = names[row.state] ?? (row.state === "paused" ? "statePaused" : "statePartial");
  return t(key, { percent: percentOf(row.bytes_done, row.bytes) });
}

/** @returns {string} e.g. "43 MB of 98 MB · 12 MB/s · 5 s left" */
export function progressText({ bytes_done: done = 0, bytes_total: total = 0, rate, eta_s: eta }) {
  if (!total) return "";
  const parts = [t("done", { done: formatBytes(done), total: formatBytes(total) })];
  if (rate) parts.push(t("perSecond", { amount: formatBytes(rate) }));
  if (rate && eta !== null) parts.push(formatEta(eta));
  return parts.join(" · ");
}

/** @returns {string} where a stored model came from */
function sourceText(source) {
  if (!source) return "";
  if (source.kind === "site") return t("fromSite");
  if (source.kind === "local") return t("fromLocal");
  return URL.canParse(source.url) ? t("fromUrl", { host: new URL(source.url).host }) : "";
}

/** @returns {string} size, licence and what else is known, in one line */
export function factsText(row, offer) {
  const context = offer?.context && t("context", { context: offer.context });
  const parts = [
    row.bytes ? sizeOf(row.bytes, offer?.approximate && row === offer) : "",
    licenceText(row.license ?? offer?.license), offer?.quant, context,
    offer?.modalities?.length > 1 ? offer.modalities.join(", ") : "", sourceText(row.source),
  ];
  return parts.filter(Boolean).join("\u00a0· "); // a line ends in a dot, none begins with one
}

const sizeOf = (bytes, roughly) =>
  roughly ? t("aboutSize", { size: formatBytes(bytes) }) : formatBytes(bytes);

/** "apache-2.0" as its authors write it; other names as they are. */
function licenceText(license) {
  return license === "apache-2.0" ? "Apache-2.0" : license;
}

/** @returns {{verdict: string, text: string, title: string}|null} whether it will run here */
export function fitText(offer) {
  const { fit, budget } = offer ?? {};
  if (!fit) return null;
  const keys = { fits: "fits", tight: "tight", no: "noFit" };
  const facts = { needed: formatBytes(fit.bytes.total), budget: budget ? formatBytes(budget) : "" };
  const { context } = fit;
  let text = budget ? t(keys[fit.verdict], facts) : fit.reason || t("fits", facts);
  if (fit.verdict === "no" && fit.largest_context)
    text += t("largestContext", { context: fit.largest_context });
  else if (fit.verdict !== "no" && context) text += t("withContext", { context });
  return { verdict: fit.verdict, text: `${text}.`, title: fit.reason ?? "" };
}

/** @returns {string} what a check found */
export function checkText({ bytes, files, bad, repaired }) {
  const facts = {
    size: formatBytes(bytes),
    files: filesText(files),
    pieces: t("pieces", { count: bad }),
  };
  if (!bad) return t("verifiedOk", facts);
  return t(repaired ? "verifiedRepaired" : "verifiedLocal", facts);
}

export function filesText(count) {
  return t("files", { count });
}

/** A size that the browser may not tell. @param {number|null} bytes */
export function sizeText(bytes) {
  return bytes === null ? t("sizeUnknown") : formatBytes(bytes);
}

const capital = (word) => word[0].toUpperCase() + word.slice(1);
