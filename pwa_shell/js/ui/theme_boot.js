// Classic script in <head>: it runs before first paint, so a chosen theme never flashes another.
(() => {
  let theme = null;
  try {
    theme = localStorage.getItem("jird.theme");
  } catch {
    // Storage can be blocked; the system's theme is then used.
  }
  if (theme !== "light" && theme !== "dark") return;
  document.documentElement.dataset.theme = theme;
  const colour = theme === "dark" ? "#0f1412" : "#f7f8f5";
  for (const meta of document.querySelectorAll('meta[name="theme-color"]')) meta.content = colour;
})();
