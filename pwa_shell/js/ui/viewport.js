/**
 * Keeps the composer above the on-screen keyboard. Safari shrinks only the visual viewport when the
 * keyboard opens, so the app's height follows that; elsewhere `interactive-widget=resizes-content`
 * does it and this changes nothing.
 */
export function followVisualViewport() {
  const viewport = window.visualViewport;
  if (!viewport) return;
  const style = document.documentElement.style;
  const update = () => {
    const hidden = window.innerHeight - viewport.height;
    const keyboard = viewport.scale === 1 && hidden > 80; // a zoomed page also has a small viewport
    document.documentElement.classList.toggle("keyboard", keyboard);
    if (keyboard) style.setProperty("--app-height", `${viewport.height}px`);
    else style.removeProperty("--app-height");
    if (keyboard) window.scrollTo(0, 0);
  };
  viewport.addEventListener("resize", update);
  viewport.addEventListener("scroll", update);
}
