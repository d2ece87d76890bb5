/** The check page: runs every check of checks.js, and makes one report of them that a person may share. */
import { jirdError } from "../../errors.js";
import { answered } from "../../silence.js";
import { byId, copyText, h } from "../dom.js";
import { formatBytes } from "../format.js";
import { problemLine } from "../problem.js";
import { canShare, saveFile, shareText } from "../save_file.js";
import { setUpLanguage, t } from "../strings.js";
import { Checks } from "./checks.js";

const APP = new URL("../../../", import.meta.url);
const PATIENCE_MS = 180_000; // for one check
const NAME = "jird-check.txt";
const BYTES = ["free", "binding", "buffer", "bytes"];

await setUpLanguage();
document.title = `${t("check")} – ${t("appName")}`;
byId("check-start").addEventListener("click", () => void run());
byId("check-copy").addEventListener("click", () => void copy());
byId("check-save").addEventListener("click", () => saveFile(NAME, [report()], "text/plain"));
byId("check-share").addEventListener("click", () => void shareText(t("check"), report(), NAME));
byId("check-share").hidden = !canShare();
byId("check-start").removeAttribute("disabled");

const report = () => byId("check-report").textContent ?? "";

async function run() {
  byId("check-start").setAttribute("disabled", "");
  byId("check-result").hidden = true;
  byId("check-summary").textContent = t("checkRunning");
  byId("check-rows").replaceChildren();
  const checks = new Checks();
  const results = [];
  for (const [id, check] of checks.rows) results.push(await show(id, check));
  await checks.end().catch(() => {});
  const count = (state) => results.filter((result) => result.state === state).length;
  const summary = t("checkSummary", { ok: count("ok"), failed: count("failed"), skipped: count("skipped") });
  byId("check-summary").textContent = summary;
  byId("check-report").textContent = await written(summary, results);
  byId("check-result").hidden = false;
  byId("check-start").textContent = t("checkAgain");
  byId("check-start").removeAttribute("disabled");
}

/** One row, first as running. -> {id, state, said, facts} */
async function show(id, check) {
  const title = t(`check_${id}`);
  const said = h("p", { class: "check-said" }), state = h("span", { class: "check-state", text: t("checkRunning") });
  const row = h("li", { "data-testid": `check-${id}`, "data-state": "running" },
    h("div", { class: "check-head" }, h("h2", { text: title }), state), said);
  byId("check-rows").append(row);
  const late = () => jirdError("E_NO_ANSWER", { what: title, seconds: PATIENCE_MS / 1000 });
  const result = await answered(check(), PATIENCE_MS, late).then(
    ({ text, facts, ...rest }) => ({ ...rest, facts, said: t(text, readable(facts)) }),
    (error) => ({ state: "failed", said: problemLine(error), facts: { code: error?.code ?? null } }));
  row.dataset.state = result.state;
  state.textContent = t(`check_${result.state}`);
  said.textContent = result.said;
  return { id, title, ...result };
}

function readable(facts) {
  return Object.fromEntries(Object.entries(facts).map(([name, value]) => (
    [name, BYTES.includes(name) ? formatBytes(value) : value])));
}

/** The report: which Jird, which browser, every row, and its figures as they are. */
async function written(summary, results) {
  const version = await fetch(new URL("version.json", APP)).then((answer) => answer.json()).catch(() => ({}));
  const { userAgent, maxTouchPoints } = navigator;
  const head = [`Jird ${version.version ?? "?"} (${String(version.build ?? "?").slice(0, 12)}), ${new Date().toISOString()}`,
    summary, userAgent, `${screen.width} x ${screen.height}, touch points ${maxTouchPoints}`];
  const rows = results.map(({ id, state, title, said }) => `${state.padEnd(8)}${id}: ${title}. ${said}`);
  const facts = Object.fromEntries(results.map((result) => [result.id, result.facts]));
  return `${[...head, "", ...rows, "", JSON.stringify(facts)].join("\n")}\n`;
}

async function copy() {
  byId("check-copy").textContent = t(await copyText(report()) ? "copied" : "copyFailed");
  setTimeout(() => (byId("check-copy").textContent = t("copy")), 1500);
}
