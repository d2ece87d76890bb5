// Classic script in <head>: it runs before first paint, so that a chosen theme never flashes
// another and no text is seen in a language that is not the person's.
(() => {
  const LANGUAGES = ["en", "de", "fr"];
  const root = document.documentElement;
  const stored = (key) => {
    try {
      return localStorage.getItem(key);
    } catch {
      return null; // storage can be blocked: the system's theme and language are then used
    }
  };
  const theme = stored("jird.theme");
  if (theme === "light" || theme === "dark") {
    root.dataset.theme = theme;
    const colour = theme === "dark" ? "#0f1412" : "#f7f8f5";
    for (const meta of document.querySelectorAll('meta[name="theme-color"]')) meta.content = colour;
  }
  const wanted = [stored("jird.language"), ...navigator.languages].map((tag) => tag?.split("-")[0]);
  root.lang = wanted.find((code) => LANGUAGES.includes(code)) ?? "en";
  if (root.lang !== "en") root.dataset.translating = ""; // strings.js ends it
})();
