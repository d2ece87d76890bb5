/** One model on the Models page; it is changed in place, so that focus and scroll stay. */
import { h, icon } from "../dom.js";
import { formatBytes } from "../format.js";
import { problemBox } from "../message_foot.js";
import { t } from "../strings.js";
import { checkText, factsText, fitText, progressText, stateText } from "./texts.js";

const ICONS = { pause: "pause", cancel: "close", verify: "shield", remove: "trash" };
const PRIMARY = ["download", "resume", "repair", "use"];

/**
 * @typedef {{row?: any, offer?: any, activity?: any, problem?: any, check?: any, used: boolean,
 *   freeable?: any[]}} Shown `row` is what the storage holds, `offer` what the catalogue says
 */

export class RowView {
  #actions = "";
  #problem = null;

  /** @param {string} id */
  constructor(id) {
    this.id = id;
    this.name = h("h3", { class: "model-title", dir: "auto" });
    this.state = h("span", { class: "model-state" });
    this.facts = h("p", { class: "model-sub" });
    this.fit = h("p", { class: "model-fit", "data-testid": "fit" });
    this.bar = /** @type {HTMLProgressElement} */ (h("progress", { max: 1, value: 0 }));
    this.progress = h("p", { class: "model-progress", "data-testid": "model-progress" });
    this.note = h("p", { class: "model-check", "data-testid": "check-result" });
    this.failure = h("div", { class: "model-failure" });
    this.actions = h("div", { class: "model-actions" });
    const head = h("div", { class: "model-head" }, this.name, this.state);
    const text = h("div", { class: "model-main" }, head, this.facts, this.fit);
    this.node = h("li", { class: "model", "data-id": id, "data-testid": "model" },
      text, this.actions, this.bar, this.progress, this.note, this.failure);
  }

  /** @param {Shown} shown */
  update(shown) {
    const { row, offer, activity, check, used } = shown;
    const best = row ?? offer;
    const name = row && row.name !== row.id ? row.name : (offer?.name ?? row?.name ?? this.id);
    this.label = name;
    set(this.name, name);
    this.node.dataset.state = activity?.stage ?? row?.state ?? "offered";
    this.node.dataset.verdict = offer?.fit?.verdict ?? "";
    set(this.state, row || activity ? stateText(row, activity) : "");
    if (used && row?.state === "complete" && !activity) set(this.state, t("inUse"));
    set(this.facts, factsText(best, offer));
    this.#showFit(row, offer);
    this.#showProgress(row, activity);
    set(this.note, noteText(row, check, activity));
    this.#showActions(shown);
    this.#showProblem(shown);
  }

  #showFit(row, offer) {
    const fit = fitText(offer);
    const shown = fit && (!row || fit.verdict !== "fits") ? fit : null;
    set(this.fit, shown?.text ?? "");
    this.fit.dataset.verdict = shown?.verdict ?? "";
    this.fit.title = shown?.title ?? "";
  }

  #showProgress(row, activity) {
    const unfinished = row && ["paused", "partial"].includes(row.state);
    const paused = unfinished ? { bytes_done: row.bytes_done, bytes_total: row.bytes } : null;
    const shown = activity ?? paused;
    this.bar.hidden = !shown;
    const { bytes_done: done = 0, bytes_total: total = 0 } = shown ?? {};
    if (activity && !total) this.bar.removeAttribute("value");
    else this.bar.value = total ? done / total : 0;
    const text = shown ? progressText(shown) : "";
    this.bar.setAttribute("aria-label", this.label);
    this.bar.setAttribute("aria-valuetext", text);
    set(this.progress, text);
  }

  /** Buttons are made anew only when they are others. */
  #showActions({ row, offer, activity, used }) {
    const names = actionsOf(row, offer, activity, used);
    const key = names.join(" ");
    if (key === this.#actions) return;
    const focused = this.actions.contains(document.activeElement);
    this.#actions = key;
    this.actions.replaceChildren(...names.map((name) => this.#button(name, row ?? offer)));
    // The button that was pressed is gone: the next in its place takes the focus.
    const first = /** @type {HTMLElement} */ (this.actions.firstElementChild);
    if (focused) first?.focus({ preventScroll: true });
  }

  #button(name, best) {
    const primary = PRIMARY.includes(name);
    const size = name === "download" && best.bytes ? formatBytes(best.bytes) : null;
    const text = size ? t("downloadSize", { size }) : t(name);
    const title = t("ofModel", { action: text, name: this.label });
    const kind = primary ? "button small" : "button plain";
    const props = { type: "button", class: kind, "data-action": name, "aria-label": title, title };
    return h("button", props, primary ? null : icon(ICONS[name]), h("span", { text }));
  }

  #showProblem({ problem, freeable }) {
    if (problem === this.#problem) return;
    this.#problem = problem;
    this.failure.replaceChildren();
    if (!problem) return;
    this.failure.append(problemBox(problem, false));
    if (!freeable?.length) return;
    this.failure.append(h("p", { class: "free-lead", text: t("freeable") }), freeList(freeable));
  }
}

/** @returns {string[]} what can be done now, the first is the most likely */
function actionsOf(row, offer, activity, used) {
  if (activity) {
    if (activity.stage === "download") return ["pause", "cancel"];
    return activity.stage === "verify" && row?.state === "complete" ? [] : ["cancel"];
  }
  if (!row) return ["download"];
  if (row.state === "complete") return used ? ["verify", "remove"] : ["use", "verify", "remove"];
  if (row.state === "broken") return ["remove"];
  if (row.source?.kind === "local") return ["remove"];
  return [row.state === "damaged" ? "repair" : "resume", "remove"];
}

function noteText(row, check, activity) {
  if (activity) return "";
  if (check) return checkText(check);
  if (row?.state === "broken") return t("brokenText");
  const lost = row && row.source?.kind === "local" && row.state !== "complete";
  return lost ? t("damagedLocal") : "";
}

/** What would make room, each with its own button. */
function freeList(items) {
  return h("ul", { class: "free-list", "data-testid": "freeable" },
    ...items.map(({ kind, name, text }) => h("li", {}, h("span", { text }),
      h("button", {
        type: "button", class: "button plain", "data-action": "free", "data-kind": kind,
        "data-name": name, text: t(kind === "model" ? "remove" : "clear"),
        "aria-label": t("ofModel", { action: t(kind === "model" ? "remove" : "clear"), name }),
      }))));
}

/** Text that did not change is left alone, for who selects or reads it. */
function set(node, text) {
  if (node.textContent !== text) node.textContent = text;
  node.hidden = !text;
}
