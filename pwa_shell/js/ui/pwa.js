/** What makes the page an app: offline start, updates, the Offline badge, the install guide. */
import { BusyLock } from "./busy_lock.js";
import { Connection } from "./connection.js";
import { byId } from "./dom.js";
import { setUpInstallGuide } from "./install_guide.js";
import { PrivacyPanel } from "./privacy_panel.js";
import { t } from "./strings.js";
import { Updates } from "./updates.js";

const APP = new URL("../../", import.meta.url).pathname;

/** @param {import("./engine_session.js").EngineSession} session */
export function setUpPwa(session) {
  setUpInstallGuide();
  const connection = followConnection(session);
  const updates = new Updates(followBusy(session), () => panel.refresh());
  const panel = new PrivacyPanel(connection, () => offlineStart(updates));
  updates.start();
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

/** @param {Updates} updates @returns {string} */
function offlineStart(updates) {
  if (!globalThis.isSecureContext) return t("offlineInsecure");
  if (!navigator.serviceWorker) return t("offlineUnsupported");
  if (navigator.serviceWorker.controller || updates.stored) return t("offlineReady");
  return t(updates.failed ? "offlineFailed" : "offlinePreparing");
}
