/** The theme button: system, light, dark. before_paint.js applies the choice before first paint. */
import { byId } from "./dom.js";
import { t } from "./strings.js";

/**
 * @type {Record<string, {next: string, icon: string, label:
 *   "themeSystem"|"themeLight"|"themeDark"}>}
 */
const THEMES = {
  system: { next: "light", icon: "system", label: "themeSystem" },
  light: { next: "dark", icon: "sun", label: "themeLight" },
  dark: { next: "system", icon: "moon", label: "themeDark" },
};
const COLOURS = { light: "#f7f8f5", dark: "#0f1412" };

/** @returns {string} system, light or dark */
export function currentTheme() {
  return document.documentElement.dataset.theme ?? "system";
}

export function setUpThemeButton() {
  byId("theme").addEventListener("click", () => setTheme(THEMES[currentTheme()].next));
  show();
}

function show() {
  const button = byId("theme");
  const { icon, label } = THEMES[currentTheme()];
  button.querySelector("use")?.setAttribute("href", `#i-${icon}`);
  button.setAttribute("aria-label", t(label));
  button.title = t(label);
}

/** @param {string} theme system, light or dark */
export function setTheme(theme) {
  if (theme === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  for (const meta of document.querySelectorAll('meta[name="theme-color"]')) {
    const own = meta.getAttribute("media")?.includes("dark") ? "dark" : "light";
    meta.setAttribute("content", COLOURS[theme === "system" ? own : theme]);
  }
  try {
    localStorage.setItem("jird.theme", theme);
  } catch {
    // Without storage the choice lasts until the tab closes.
  }
  show();
}
