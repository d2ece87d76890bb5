/** The end of the diagnostics panel: the coded errors so far, and everything as a text to copy. */
import { copyText, h } from "./dom.js";
import { clearErrors, errorRows } from "./error_log.js";
import { language, t } from "./strings.js";
import { toast } from "./toast.js";

const APP = new URL("../../", import.meta.url);

const factsText = (facts) => Object.entries(facts ?? {}).map((pair) => pair.join(" = ")).join(", ");

/** @returns {HTMLElement[]} */
export function errorLog() {
  const rows = errorRows();
  const title = h("h3", { text: t("diagErrors") });
  if (!rows.length) return [title, h("p", { "data-testid": "no-errors", text: t("diagNoErrors") })];
  const heads = ["diagWhen", "diagWhere", "diagCode", "diagFacts"];
  const body = rows.map(({ time, where, code, facts }) => h("tr", {},
    h("td", { text: new Date(time).toLocaleString(language()) }),
    h("td", { text: t(/** @type {any} */ (`diag_where_${where}`)) ?? where }),
    h("th", { scope: "row" }, h("code", { text: code })), h("td", { text: factsText(facts) })));
  const table = h("table", { class: "chart error-log", "data-testid": "error-log" },
    h("thead", {}, h("tr", {}, ...heads.map((key) => h("th", { scope: "col", text: t(key) })))),
    h("tbody", {}, ...body));
  const box = h("div", {}, h("p", { text: t("diagErrorsNote") }), table);
  const clear = h("button", { type: "button", class: "button small plain", text: t("diagClear") });
  clear.addEventListener("click", () => {
    clearErrors();
    box.replaceChildren(h("p", { text: t("diagNoErrors") }));
  });
  box.append(clear);
  return [title, box];
}

/** @param {() => Record<string, any>} figures of the engine */
export function reportRow(figures) {
  const copy = h("button", { type: "button", class: "button small plain", text: t("diagCopy"),
    "data-testid": "copy-report" });
  copy.addEventListener("click", async () => {
    const done = await copyText(await report(figures()));
    toast(t(done ? "diagCopied" : "copyFailed"));
    copy.textContent = t(done ? "copied" : "diagCopy"); // the note is under the open dialog
  });
  return h("div", { class: "report-row" }, copy);
}

/** Nothing in it is of a chat: versions, measures, codes. @returns {Promise<string>} JSON */
async function report(figures) {
  const version = await fetch(new URL("version.json", APP)).then(
    (response) => (response.ok ? response.json() : null),
    () => null,
  );
  const { userAgent, hardwareConcurrency, deviceMemory } = /** @type {any} */ (navigator);
  const { usage, quota } = (await navigator.storage?.estimate?.().catch(() => null)) ?? {};
  const page = { userAgent, hardwareConcurrency, deviceMemory, usage, quota,
    screen: [innerWidth, innerHeight, devicePixelRatio], isolated: globalThis.crossOriginIsolated };
  const errors = errorRows().map((row) => ({ ...row, time: new Date(row.time).toISOString() }));
  return JSON.stringify({ jird: version, page, ...figures, errors }, null, 1);
}
