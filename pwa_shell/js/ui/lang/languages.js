/**
 * The languages of the page, each under its own name. A new one needs a folder here with the parts
 * of en/, its row, and its code in js/ui/before_paint.js.
 */
export const LANGUAGES = {
  en: { name: "English", dir: "ltr" },
  de: { name: "Deutsch", dir: "ltr", load: () => import("./de/index.js") },
  fr: { name: "Français", dir: "ltr", load: () => import("./fr/index.js") },
};
