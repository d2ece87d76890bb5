/**
 * What stands where no conversation is yet: welcome and Start, loading progress, errors, example
 * prompts.
 */
import { Emitter, byId, h, icon } from "./dom.js";
import { formatBytes, formatEta, formatSeconds } from "./format.js";
import { problemBox } from "./message_foot.js";
import { ProgressMeter } from "./progress_meter.js";
import { t } from "./strings.js";

/** What a first question could be: names of texts. */
const EXAMPLES = ["sky", "mail", "code", "food"];

/** Emits `start` and `example` (string). */
export class StartView extends Emitter {
  #meter = new ProgressMeter();
  #rows = new Map();
  #frame = 0;

  /** @param {import("./model_info.js").DEFAULT_MODEL} model */
  constructor(model) {
    super();
    this.root = byId("welcome");
    this.dock = byId("dock-notice");
    this.status = h("div", { class: "load" });
    this.setModel(model);
    byId("start").addEventListener("click", () => this.emit("start"));
    this.status.addEventListener("click", (event) => {
      if (/** @type {Element} */ (event.target).closest("[data-action=retry]")) this.emit("start");
    });
    byId("examples").append(...EXAMPLES.map((name) => this.#example(name)));
  }

  /** @param {import("./model_info.js").DEFAULT_MODEL} model */
  setModel({ name, bytes, licence, note }) {
    byId("model-name").textContent = name;
    const facts = [bytes && formatBytes(bytes), licence].filter(Boolean);
    byId("model-facts").textContent = facts.join(" · ");
    byId("model-note").textContent = t(note);
  }

  /**
   * @param {import("./engine_session.js").EngineSession} session
   * @param {boolean} empty whether the chat on the page has no messages
   */
  render(session, empty) {
    const { state } = session;
    this.root.dataset.state = state;
    this.root.hidden = !empty;
    byId("start").toggleAttribute("disabled", state !== "idle");
    const host = empty ? byId("load-host") : this.dock;
    if (this.status.parentNode !== host) host.append(this.status);
    this.status.classList.toggle("compact", !empty);
    if (state === "loading") return this.#showProgress();
    cancelAnimationFrame(this.#frame);
    this.#frame = 0;
    this.#meter = new ProgressMeter();
    this.#rows.clear();
    this.status.replaceChildren(...(state === "failed" ? [problemBox(session.problem, true)] : []));
  }

  /** @param {import("./engine_session.js").Progress} progress */
  note(progress) {
    this.#meter.note(progress, performance.now());
    this.#frame ||= requestAnimationFrame(() => {
      this.#frame = 0;
      this.#showProgress();
    });
  }

  /** @param {string} name */
  #example(name) {
    const [lead, rest] = [t(`exampleLead_${name}`), t(`exampleRest_${name}`)];
    const button = h(
      "button",
      { type: "button", class: "example" },
      h("strong", { text: lead }),
      ` ${rest}`,
    );
    button.addEventListener("click", () => this.emit("example", `${lead} ${rest}`));
    return h("li", {}, button);
  }

  #showProgress() {
    if (!this.#rows.size) this.#buildProgress();
    this.#meter.stages.forEach((stage, place) => this.#updateRow(stage, place));
    const now = this.#meter.current();
    this.summary.textContent = now ? [now.name, detail(now)].filter(Boolean).join(" · ") : "";
    this.bar.value = this.#meter.fraction();
    this.bar.setAttribute("aria-valuetext", this.summary.textContent);
  }

  #buildProgress() {
    this.list = h("ol", { class: "stages" });
    this.bar = /** @type {HTMLProgressElement} */ (
      h("progress", { max: 1, value: 0, "aria-label": t("loading") })
    );
    this.summary = h("p", { class: "load-summary" });
    this.status.replaceChildren(
      h("div", { class: "progress", "data-testid": "progress" }, this.summary, this.bar, this.list),
    );
  }

  #updateRow(stage, place) {
    let row = this.#rows.get(stage.id);
    if (!row) {
      row = h(
        "li",
        {},
        h("span", { class: "stage-mark" }, icon("check")),
        h("span", { class: "stage-name" }),
        h("span", { class: "stage-detail" }),
      );
      row.children[1].textContent = stage.name;
      this.#rows.set(stage.id, row);
      this.list.insertBefore(row, this.list.children[place] ?? null);
    }
    row.dataset.state = stage.state;
    row.dataset.stage = stage.id;
    const text = detail(stage);
    if (row.lastElementChild.textContent !== text) row.lastElementChild.textContent = text;
  }
}

/** @param {import("./progress_meter.js").Stage} stage @returns {string} */
function detail(stage) {
  if (stage.state === "pending") return "";
  if (stage.state === "done") {
    const ms = stage.ended - stage.begun;
    return ms >= 10 ? formatSeconds(ms / 1000) : ""; // it said no more than that it is over
  }
  if (stage.unit === "bytes") {
    const parts = [t("done", { done: formatBytes(stage.done), total: formatBytes(stage.total) })];
    if (stage.rate) parts.push(t("perSecond", { amount: formatBytes(stage.rate) }), formatEta(stage.eta));
    return parts.filter(Boolean).join(" · ");
  }
  return stage.total > 1 ? t("done", stage) : "";
}
