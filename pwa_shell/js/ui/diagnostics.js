/**
 * The diagnostics panel: what this device offers, how the model was loaded, its memory by part, and,
 * when asked for, how long each kernel takes. Every chart is a table whose rows have a bar.
 */
import { byId, h, iconButton } from "./dom.js";
import { formatBytes, formatSeconds } from "./format.js";
import { toProblem } from "./problem.js";
import { DIAGNOSTIC_TEXTS as TEXTS } from "./strings_diagnostics.js";
import { t } from "./strings.js";

const SVG = "http://www.w3.org/2000/svg";
const FACTS = ["backend", "vendor", "architecture", "f16", "subgroups"];
const COUNTS = ["context", "dispatches_per_token", "submits_per_token"];
const PARTS = ["weights", "kv", "state", "activations", "staging"];

/** A bar from `start` to `end` of 0..1; what it shows is in the row's text. */
function bar(start, end) {
  const svg = document.createElementNS(SVG, "svg");
  const attributes = { class: "bar", viewBox: "0 0 100 4", preserveAspectRatio: "none", "aria-hidden": "true" };
  for (const [name, value] of Object.entries(attributes)) svg.setAttribute(name, value);
  const rect = document.createElementNS(SVG, "rect");
  const box = { x: 100 * start, y: 0, width: Math.max(0.5, 100 * (end - start)), height: 4 };
  for (const [name, value] of Object.entries(box)) rect.setAttribute(name, String(value));
  svg.append(rect);
  return svg;
}

/**
 * @param {string} name test id
 * @param {string[]} columns headings, the bar's apart
 * @param {{cells: string[], start: number, end: number}[]} rows
 */
function chart(name, columns, rows) {
  const head = columns.map((text) => h("th", { scope: "col", text }));
  const body = rows.map(({ cells: [label, ...rest], start, end }) => h("tr", {},
    h("th", { scope: "row", text: label }), ...rest.map((text) => h("td", { text })),
    h("td", { class: "bar-cell" }, bar(start, end))));
  return h("table", { class: "chart", "data-testid": name },
    h("thead", {}, h("tr", {}, ...head, h("td"))), h("tbody", {}, ...body));
}

/** Stages one after the other. @param {Record<string, number>} ms with `total` */
export function loadChart({ total, ...parts }) {
  let at = 0;
  const rows = Object.entries(parts).map(([name, value]) => {
    const start = at;
    at += value;
    return { cells: [TEXTS[name] ?? name, formatSeconds(value / 1e3)], start: start / total, end: at / total };
  });
  rows.push({ cells: [TEXTS.total, formatSeconds(total / 1e3)], start: 0, end: 1 });
  return chart("load-chart", [TEXTS.diagStage, TEXTS.diagTime], rows);
}

/** @param {Record<string, number>} bytes by part, with `total` */
export function memoryChart(bytes) {
  const rows = [...PARTS, "total"].map((name) => (
    { cells: [TEXTS[name], formatBytes(bytes[name])], start: 0, end: bytes[name] / bytes.total }));
  return chart("memory-chart", [TEXTS.diagPart, TEXTS.diagBytes], rows);
}

/** @param {any} report of `engine.profile()` */
export function kernelChart(report) {
  const longest = report.kernels[0]?.share || 1;
  const rows = report.kernels.map(({ op, shape, calls, us, share, gb_s }) => ({
    cells: [`${op} ${shape}`, `${calls} × ${us.toFixed(1)} µs`, `${(100 * share).toFixed(1)} %`,
      gb_s === null ? "" : `${gb_s.toFixed(1)} GB/s`],
    start: 0, end: share / longest }));
  return chart("kernel-chart", [TEXTS.diagKernel, TEXTS.diagTime, TEXTS.diagShare, TEXTS.diagRate], rows);
}

const shown = (value) => (value === true ? TEXTS.yes : value === false ? TEXTS.no
  : typeof value === "number" && !Number.isInteger(value) ? value.toFixed(2) : String(value));

export class DiagnosticsPanel {
  /** @param {import("./engine_session.js").EngineSession} session */
  constructor(session) {
    this.session = session;
    this.dialog = /** @type {HTMLDialogElement} */ (byId("diagnostics-panel"));
    this.body = h("div", { class: "diagnostics" });
    this.kernels = h("div", { "aria-live": "polite" });
    this.measure = h("button", { type: "button", class: "button", "data-testid": "measure", text: TEXTS.diagMeasure,
      on: { click: () => this.profile() } });
    this.testing = h("div", { "aria-live": "polite" });
    this.test = h("button", { type: "button", class: "button", "data-testid": "selftest", text: TEXTS.diagSelftest,
      on: { click: () => this.selftest() } });
    const close = iconButton("close", t("close"), { class: "ghost", on: { click: () => this.dialog.close() } });
    const head = h("div", { class: "panel-head" }, h("h2", { text: TEXTS.diagnostics }), close);
    this.dialog.append(head, this.body);
    this.dialog.addEventListener("click", ({ target }) => target === this.dialog && this.dialog.close());
    // Escape would also stop an answer.
    this.dialog.addEventListener("keydown", (event) => event.stopPropagation());
    byId("diagnostics").addEventListener("click", () => this.open());
    byId("diagnostics").removeAttribute("disabled");
    session.on("state", () => this.dialog.open && this.refresh());
  }

  open() {
    this.kernels.replaceChildren();
    this.testing.replaceChildren();
    this.dialog.showModal();
    return this.refresh();
  }

  /** Shows the loaded model's figures; never loads one. */
  async refresh() {
    const stats = this.session.state === "ready" && await this.session.ensure().then((engine) => engine.stats(), () => null);
    if (!stats?.device) return this.body.replaceChildren(h("p", { text: TEXTS.diagNoModel }));
    const facts = [...FACTS.map((name) => [name, stats.device[name]]), ...COUNTS.map((name) => [name, stats[name]])]
      .filter(([, value]) => value !== undefined && value !== null && value !== "");
    this.body.replaceChildren(
      h("h3", { text: TEXTS.diagDevice }),
      h("dl", { class: "device-facts", "data-testid": "device-facts" }, ...facts.flatMap(([name, value]) => (
        [h("dt", { text: TEXTS[name] }), h("dd", { text: shown(value) })]))),
      ...(stats.device.notice ? [h("p", { class: "problem", "data-testid": "device-notice", text: stats.device.notice })] : []),
      this.test, this.testing,
      h("h3", { text: TEXTS.diagLoad }), loadChart(stats.load_ms),
      h("h3", { text: TEXTS.diagMemory }), memoryChart(stats.bytes),
      h("h3", { text: TEXTS.diagKernels }), this.measure, this.kernels);
  }

  /** Tries what the GPU computes correctly, after the answer that runs. */
  async selftest() {
    this.test.setAttribute("disabled", "");
    this.testing.replaceChildren(h("p", { text: TEXTS.diagTesting }));
    try {
      const report = await (await this.session.ensure()).selftest();
      const wrong = report.rows.filter(({ right }) => !right).map(({ what, dispatches, passes, submits }) => (
        `${what}: ${dispatches} / ${passes} / ${submits}`));
      const text = TEXTS.diagTested.replace("{right}", report.rows.length - wrong.length).replace("{all}", report.rows.length)
        .replace("{dispatches}", report.layout[1]).replace("{passes}", report.layout[0]).replace("{ms}", report.ms.toFixed(0));
      this.testing.replaceChildren(h("p", { "data-testid": "selftest-result", text }),
        ...(wrong.length ? [h("p", { class: "problem", text: `${TEXTS.diagWrong} ${wrong.join("; ")}` })] : []));
    } catch (error) {
      const { message, nextStep } = toProblem(error);
      this.testing.replaceChildren(h("p", { class: "problem", text: [message, nextStep].join(" ") }));
    } finally {
      this.test.removeAttribute("disabled");
    }
  }

  /** Times the kernels, after the answer that runs. */
  async profile() {
    this.measure.setAttribute("disabled", "");
    this.kernels.replaceChildren(h("p", { text: TEXTS.diagMeasuring }));
    try {
      const engine = await this.session.ensure();
      const report = await engine.profile({ program: "decode", repeats: 3 });
      const note = TEXTS.diagKernelsNote.replace("{ms}", report.ms.toFixed(1)).replace("{position}", report.position);
      const clock = report.clock === "gpu" ? TEXTS.diagGpuClock : TEXTS.diagWallClock;
      this.kernels.replaceChildren(h("p", { text: `${note} ${clock}` }), kernelChart(report));
    } catch (error) {
      const { message, nextStep } = toProblem(error);
      this.kernels.replaceChildren(h("p", { class: "problem", text: [message, nextStep].join(" ") }));
    } finally {
      this.measure.removeAttribute("disabled");
    }
  }
}
