/** What stands behind "Nothing leaves this device": the state of things, and the last requests. */
import { hearRequests, RequestLog } from "../request_log.js";
import { byId, h, iconButton } from "./dom.js";
import { formatBytes } from "./format.js";
import { language, t } from "./strings.js";

const SHOWN = 30;
const APP = new URL("../../", import.meta.url).href;

export class PrivacyPanel {
  /** @type {RequestLog} */
  #log;
  /** @type {Map<string, import("../request_log.js").RequestReport>} by worker */
  #reports = new Map();

  /**
   * @param {import("./connection.js").Connection} connection
   * @param {() => string} offlineStart says whether the app starts without a network
   */
  constructor(connection, offlineStart) {
    Object.assign(this, { connection, offlineStart });
    this.dialog = /** @type {HTMLDialogElement} */ (byId("privacy-panel"));
    this.facts = h("ul", { class: "facts" });
    this.summary = h("p", { class: "requests-summary", "data-testid": "requests-summary" });
    this.list = h("ul", { class: "requests", "data-testid": "requests" });
    const close = iconButton("close", t("close"), { class: "ghost" });
    const head = h("div", { class: "panel-head" }, h("h2", { text: t("privacyTitle") }), close);
    const text = h("p", { text: t("privacyText") });
    this.dialog.append(head, text, this.facts, this.summary, this.list);
    this.dialog.addEventListener("click", (event) => {
      if (event.target === this.dialog || close.contains(/** @type {Node} */ (event.target)))
        this.dialog.close();
    });
    // Escape would also stop an answer.
    this.dialog.addEventListener("keydown", (event) => event.stopPropagation());
    connection.on("change", () => this.refresh());
    this.#log = new RequestLog(() => this.#showRequests()); // WebKit calls back at once
    hearRequests((report) => {
      this.#reports.set(report.who, report);
      this.#showRequests();
    });
    byId("privacy").addEventListener("click", () => this.open());
    byId("privacy").removeAttribute("disabled");
  }

  open() {
    this.dialog.showModal();
    this.#showRequests();
    this.refresh();
  }

  /** Say again how things stand, if the panel is open. */
  refresh() {
    if (!this.dialog.open) return;
    const network = t(this.connection.online ? "networkOn" : "networkOff");
    const lines = [network, this.offlineStart()];
    this.facts.replaceChildren(...lines.map((text) => h("li", { text })));
  }

  #showRequests() {
    if (!this.dialog.open) return;
    const reports = [this.#log, ...this.#reports.values()];
    const hosts = {};
    for (const report of reports) {
      for (const [host, count] of Object.entries(report.hosts))
        hosts[host] = (hosts[host] ?? 0) + count;
    }
    this.summary.textContent = summary(hosts);
    const all = reports.flatMap(({ last }) => last).sort((a, b) => b.time - a.time);
    this.list.replaceChildren(...all.slice(0, SHOWN).map(row));
  }
}

/** @param {Record<string, number>} hosts requests by host @returns {string} */
function summary(hosts) {
  const { [location.host]: own = 0, ...others } = hosts;
  const parts = Object.entries(others).map(([host, count]) => t("requestsTo", { count, host }));
  if (!parts.length) parts.push(t("requestsNoOther"));
  return [t("requestsOwn", { count: own, host: location.host }), ...parts].join(", ");
}

/** @param {import("../request_log.js").LoggedRequest} request */
function row({ url, time, bytes, fetched }) {
  const name = url.startsWith(APP) ? url.slice(APP.length) || "index.html" : url;
  const size = bytes ? formatBytes(bytes) : ""; // it has no body, or the other site hides its size
  const clock = new Date(time).toLocaleTimeString(language());
  const outside = new URL(url).host !== location.host;
  return h("li", { class: outside ? "outside" : null },
    h("time", { text: clock }), h("span", { class: "request-name", text: name }),
    h("span", { text: fetched ? size : t("requestStored") }));
}
