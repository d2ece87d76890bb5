/**
 * How to put the app on the Home Screen: the steps where only a person can do it (Safari on iPad
 * and iPhone), a button where the browser offers one. Put away once, it stays away.
 */
import { byId, h, icon, iconButton } from "./dom.js";
import { t } from "./strings.js";

const KEY = "jird.install";
const standalone = matchMedia("(display-mode: standalone)");

/** @type {any} Chromium's event, which comes when it likes: listened for from the start */
let offered = null;
let shown = () => {};
addEventListener("beforeinstallprompt", (event) => {
  event.preventDefault();
  offered = event;
  shown();
});
addEventListener("appinstalled", () => {
  offered = null;
  putAway();
});

/** iPadOS calls itself a Macintosh, but no Mac has a touch screen. */
function isAppleMobile() {
  const { userAgent, maxTouchPoints } = navigator;
  return /iPhone|iPad|iPod/.test(userAgent) || (/Macintosh/.test(userAgent) && maxTouchPoints > 1);
}

/** Other browsers of iOS, and web views inside apps, have no such entry in their menus. */
function isSafari() {
  const { userAgent } = navigator;
  return /Version\/[\d.]+.* Safari\//.test(userAgent) && !/(Cri|Fxi|Edgi|OPi)OS/.test(userAgent);
}

function isInstalled() {
  return standalone.matches || /** @type {any} */ (navigator).standalone === true;
}

function wasPutAway() {
  try {
    return localStorage.getItem(KEY) === "dismissed";
  } catch {
    return false;
  }
}

function putAway() {
  byId("install").replaceChildren();
  try {
    localStorage.setItem(KEY, "dismissed");
  } catch {
    // Without storage it comes back at the next visit.
  }
}

/** Show what applies to this browser, now or when it offers to install. */
export function setUpInstallGuide() {
  if (isInstalled()) return;
  if (isAppleMobile()) addSplashLinks();
  if (wasPutAway()) return;
  if (isAppleMobile() && isSafari()) show("installApple", steps());
  shown = () => !wasPutAway() && show("installOther", installButton());
  if (offered) shown();
}

/** @param {"installApple"|"installOther"} text @param {HTMLElement} action */
function show(text, action) {
  const close = iconButton("close", t("installClose"), { class: "ghost", on: { click: putAway } });
  const body = h("div", { class: "install-text" }, h("strong", { text: t("installTitle") }));
  body.append(h("p", { text: t(text) }), action);
  byId("install").replaceChildren(
    h("aside", { class: "install", "data-testid": "install", "aria-label": t("installTitle") },
      body, close),
  );
}

function steps() {
  const share = h("li", {}, `${t("installShareBefore")} `, icon("share"), ` ${t("installShare")}`);
  const others = [t("installAdd"), t("installOpen")].map((text) => h("li", { text }));
  return h("ol", {}, share, ...others);
}

function installButton() {
  const click = async () => {
    const prompt = offered;
    offered = null; // it can be used once
    byId("install").replaceChildren();
    await prompt.prompt();
  };
  return h("button", { type: "button", class: "button small", text: t("install"), on: { click } });
}

/**
 * iOS takes the splash screen whose media query fits exactly, so only this device's are named; the
 * images are app/build/images.py's.
 */
function addSplashLinks() {
  const ratio = devicePixelRatio;
  const [short, long] = [screen.width, screen.height].sort((a, b) => a - b);
  const turns = { portrait: `${short}x${long}` };
  if (short >= 600) turns.landscape = `${long}x${short}`;
  for (const [orientation, size] of Object.entries(turns)) {
    for (const theme of ["light", "dark"]) {
      const media = `(orientation: ${orientation}) and (prefers-color-scheme: ${theme})`;
      const href = `./img/splash/${size}@${ratio}-${theme}.png`;
      document.head.append(h("link", { rel: "apple-touch-startup-image", href, media }));
    }
  }
}
