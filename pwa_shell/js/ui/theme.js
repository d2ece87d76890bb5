/** The theme button: system, light, dark. theme_boot.js applies the choice before first paint. */
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

export function setUpThemeButton() {
  const button = byId("theme");
  const show = () => {
    const { icon, label } = THEMES[document.documentElement.dataset.theme ?? "system"];
    button.querySelector("use")?.setAttribute("href", `#i-${icon}`);
    button.setAttribute("aria-label", t(label));
    button.title = t(label);
  };
  button.addEventListener("click", () => {
    apply(THEMES[document.documentElement.dataset.theme ?? "system"].next);
    show();
  });
  show();
}

/** @param {string} theme */
function apply(theme) {
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
}
