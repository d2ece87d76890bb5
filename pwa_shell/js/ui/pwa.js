/** What makes the page an app: offline start, updates, the Offline badge, the install guide. */
import { BusyLock } from "./busy_lock.js";
import { Connection } from "./connection.js";
import { byId } from "./dom.js";
import { setUpInstallGuide } from "./install_guide.js";
import { PrivacyPanel } from "./privacy_panel.js";
import { t } from "./strings.js";
import { registerWorker, Updates } from "./updates.js";

const APP = new URL("../../", import.meta.url).pathname;

/** @param {import("./engine_session.js").EngineSession} session */
export function setUpPwa(session) {
  setUpInstallGuide();
  const connection = followConnection(session);
  const registered = registerWorker().catch((error) => error);
  const panel = new PrivacyPanel(connection, () => offlineStart(registered));
  navigator.serviceWorker?.ready.then(() => panel.refresh());
  registered.then((worker) => {
    if (worker?.scope) new Updates(worker, followBusy(session));
  });
}

/** @param {import("./engine_session.js").EngineSession} session @returns {Connection} */
function followConnection(session) {
  const connection = new Connection();
  const show = () => (byId("offline").hidden = connection.online);
  show();
  connection.on("change", show);
  session.on("state", () => session.problem?.code === "E_NETWORK" && connection.check());
  // A page from the service worker says nothing about the network; one from the server does.
  if (navigator.serviceWorker?.controller) connection.check();
  return connection;
}

/** Held while this tab answers or loads. @returns {BusyLock} */
function followBusy(session) {
  const lock = new BusyLock(`jird-busy:${APP}`);
  const root = document.documentElement;
  const update = () => lock.set(root.hasAttribute("data-busy") || session.state === "loading");
  new MutationObserver(update).observe(root, { attributeFilter: ["data-busy"] });
  session.on("state", update);
  update();
  return lock;
}

/** @param {Promise<any>} registered @returns {Promise<string>} */
async function offlineStart(registered) {
  if (!globalThis.isSecureContext) return t("offlineInsecure");
  if (navigator.serviceWorker?.controller) return t("offlineReady");
  if (!navigator.serviceWorker) return t("offlineUnsupported");
  const worker = await Promise.race([registered, undefined]);
  if (worker?.active) return t("offlineReady");
  const preparing = !worker || worker.installing || worker.waiting;
  return t(preparing ? "offlinePreparing" : "offlineFailed"); // an Error too has none of them
}
