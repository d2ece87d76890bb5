/** How loud it is: a bar that is drawn at each frame, and a value that is said less often. */
import { h } from "../dom.js";
import { t } from "../strings.js";

const SAY_EVERY_MS = 500;
const FALL = 0.85; // of the bar, a frame

export class LevelMeter {
  #shown = 0; #saidAt = -Infinity;

  constructor() {
    this.node = h("span", { class: "level", role: "meter", "aria-label": t("level"),
      "aria-valuemin": 0, "aria-valuemax": 100, "aria-valuenow": 0, "data-testid": "level" },
      h("i"), h("i"), h("i"), h("i"), h("i"));
  }

  /** @param {number} level 0 to 1 */
  show(level) {
    this.#shown = Math.max(level, this.#shown * FALL);
    this.node.style.setProperty("--level", this.#shown.toFixed(3));
    const now = performance.now();
    if (now - this.#saidAt < SAY_EVERY_MS) return;
    this.#saidAt = now;
    this.node.setAttribute("aria-valuenow", String(Math.round(100 * this.#shown)));
  }
}
