/** A model's thoughts, in a field of their own that stays closed until a person opens it. */
import { h } from "./dom.js";
import { formatSeconds } from "./format.js";
import { t } from "./strings.js";

export class ThoughtView {
  constructor() {
    this.label = h("span");
    this.text = document.createTextNode("");
    const box = h("div", { class: "thought-text", dir: "auto", tabindex: "0" });
    box.append(this.text);
    this.node = h(
      "details",
      { class: "thought", "data-testid": "thought", hidden: true },
      h("summary", {}, this.label),
      box,
    );
  }

  /**
   * @param {string|null} thought so far
   * @param {boolean} open whether it goes on
   * @param {number|null} [ms] how long it took
   */
  update(thought, open, ms) {
    this.node.hidden = !thought && !open;
    this.node.classList.toggle("open", open);
    const took = ms ? t("thoughtFor", { time: formatSeconds(ms / 1000) }) : t("thought");
    const label = open ? t("thinking") : took;
    if (this.label.textContent !== label) this.label.textContent = label;
    const next = thought ?? "";
    const old = this.text.data;
    if (next === old) return;
    if (next.startsWith(old)) this.text.appendData(next.slice(old.length));
    else this.text.data = next;
  }
}
