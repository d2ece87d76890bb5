/**
 * The diagnostics panel: what this device offers, how the model was loaded, its memory by part, and,
 * when asked for, how long each kernel takes. Every chart is a table whose rows have a bar.
 */
import { noticeText } from "./device_notice.js";
import { errorLog, reportRow } from "./diagnostics_report.js";
import { byId, h, iconButton } from "./dom.js";
import { formatBytes, formatSeconds } from "./format.js";
import { problemLine } from "./problem.js";
import { number, t } from "./strings.js";

const SVG = "http://www.w3.org/2000/svg";
const FACTS = ["backend", "vendor", "architecture", "f16", "subgroups", "mode", "dispatches_per_submit"];
const COUNTS = ["context", "dispatches_per_token", "submits_per_token", "kept_plan"];
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
  return h("table", { class: `chart ${name}`, "data-testid": name },
    h("thead", {}, h("tr", {}, ...head, h("td"))), h("tbody", {}, ...body));
}

/** Stages one after the other. @param {Record<string, number>} ms with `total` */
function loadChart({ total, ...parts }) {
  let at = 0;
  const rows = Object.entries(parts).map(([name, value]) => {
    const start = at;
    at += value;
    return { cells: [t(`diag_${name}`) ?? name, formatSeconds(value / 1e3)], start: start / total, end: at / total };
  });
  rows.push({ cells: [t("diag_total"), formatSeconds(total / 1e3)], start: 0, end: 1 });
  return chart("load-chart", [t("diagStage"), t("diagTime")], rows);
}

/** @param {Record<string, number>} bytes by part, with `total` */
function memoryChart(bytes) {
  const rows = [...PARTS, "total"].map((name) => (
    { cells: [t(`diag_${name}`), formatBytes(bytes[name])], start: 0, end: bytes[name] / bytes.total }));
  return chart("memory-chart", [t("diagPart"), t("diagBytes")], rows);
}

/** @param {any} report of `engine.profile()` */
function kernelChart(report) {
  const longest = report.kernels[0]?.share || 1;
  const rows = report.kernels.map(({ op, shape, calls, us, share, gb_s }) => ({
    cells: [`${op} ${shape}`, `${calls} × ${number(us, 1)}\u00a0µs`, `${number(100 * share, 1)}\u00a0%`,
      gb_s === null ? "" : t("perSecond", { amount: t("unitGB", { value: number(gb_s, 1) }) })],
    start: 0, end: share / longest }));
  return chart("kernel-chart", [t("diagKernel"), t("diagTime"), t("diagShare"), t("diagRate")], rows);
}

const shown = (value) => (value === true ? t("diag_yes") : value === false ? t("diag_no")
  : typeof value === "number" ? number(value, Number.isInteger(value) ? 0 : 2) : String(value));

/** What the self-test found at the load. @param {{off: string[]}|undefined} selftest */
function selfTestLine(selftest) {
  if (!selftest?.off) return [];
  const names = selftest.off.join(", ");
  const text = names ? t("diagSelfOff", { names }) : t("diagSelfRight");
  return [h("p", { class: names ? "problem" : null, "data-testid": "selftest-load", text })];
}

export class DiagnosticsPanel {
  /** @param {import("./engine_session.js").EngineSession} session */
  constructor(session) {
    this.session = session;
    this.dialog = /** @type {HTMLDialogElement} */ (byId("diagnostics-panel"));
    this.body = h("div", { class: "diagnostics" });
    this.kernels = h("div", { "aria-live": "polite" });
    this.measure = h("button", { type: "button", class: "button", "data-testid": "measure", text: t("diagMeasure"),
      on: { click: () => this.profile() } });
    this.testing = h("div", { "aria-live": "polite" });
    this.test = h("button", { type: "button", class: "button", "data-testid": "selftest", text: t("diagSelftest"),
      on: { click: () => this.selftest() } });
    const close = iconButton("close", t("close"), { class: "ghost", on: { click: () => this.dialog.close() } });
    const head = h("div", { class: "panel-head" }, h("h2", { text: t("diagnostics") }), close);
    const check = h("a", { href: "./check.html", "data-testid": "check-link", text: t("checkLink") });
    this.dialog.append(head, this.body, h("p", { class: "check-link" }, check));
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
    this.measured = this.tested = null;
    this.dialog.showModal();
    return this.refresh();
  }

  /** Shows the loaded model's figures; never loads one. */
  async refresh() {
    const stats = this.session.state === "ready" && await this.session.ensure().then((engine) => engine.stats(), () => null);
    const rest = [...errorLog(), reportRow(() => ({ stats: stats || null, kernels: this.measured, selftest: this.tested }))];
    if (!stats?.device) return this.body.replaceChildren(h("p", { text: t("diagNoModel") }), ...rest);
    const facts = [...FACTS.map((name) => [name, stats.device[name]]), ...COUNTS.map((name) => [name, stats[name]])]
      .filter(([, value]) => value !== undefined && value !== null && value !== "");
    this.body.replaceChildren(
      h("h3", { text: t("diagDevice") }),
      h("dl", { class: "device-facts", "data-testid": "device-facts" }, ...facts.flatMap(([name, value]) => (
        [h("dt", { text: t(`diag_${name}`) }), h("dd", { text: shown(value) })]))),
      ...(stats.device.notice ? [h("p", { class: "problem", "data-testid": "device-notice", text: noticeText(stats.device) })] : []),
      ...selfTestLine(stats.device.selftest), this.test, this.testing,
      h("h3", { text: t("diagLoad") }), loadChart(stats.load_ms),
      h("h3", { text: t("diagMemory") }), memoryChart(stats.bytes),
      h("h3", { text: t("diagKernels") }), this.measure, this.kernels, ...rest);
  }

  /** Tries what the GPU computes correctly, after the answer that runs. */
  async selftest() {
    this.test.setAttribute("disabled", "");
    this.testing.replaceChildren(h("p", { text: t("diagTesting") }));
    try {
      const report = await (await this.session.ensure()).selftest();
      this.tested = report;
      const wrong = report.rows.filter(({ right }) => !right).map(({ what, dispatches, passes, submits }) => (
        `${what}: ${dispatches} / ${passes} / ${submits}`));
      const [passes, dispatches] = report.layout;
      const all = report.rows.length;
      const text = t("diagTested", { right: all - wrong.length, all, passes, dispatches, ms: number(report.ms, 0) });
      this.testing.replaceChildren(h("p", { "data-testid": "selftest-result", text }),
        ...(wrong.length ? [h("p", { class: "problem", text: `${t("diagWrong")} ${wrong.join("; ")}` })] : []));
    } catch (error) {
      this.testing.replaceChildren(h("p", { class: "problem", text: problemLine(error) }));
    } finally {
      this.test.removeAttribute("disabled");
    }
  }

  /** Times the kernels, after the answer that runs. */
  async profile() {
    this.measure.setAttribute("disabled", "");
    this.kernels.replaceChildren(h("p", { text: t("diagMeasuring") }));
    try {
      const engine = await this.session.ensure();
      const report = await engine.profile({ program: "decode", repeats: 3 });
      this.measured = report;
      const note = t("diagKernelsNote", { ms: number(report.ms, 1), position: report.position });
      const clock = report.clock === "gpu" ? t("diagGpuClock") : t("diagWallClock");
      this.kernels.replaceChildren(h("p", { text: `${note} ${clock}` }), kernelChart(report));
    } catch (error) {
      this.kernels.replaceChildren(h("p", { class: "problem", text: problemLine(error) }));
    } finally {
      this.measure.removeAttribute("disabled");
    }
  }
}
