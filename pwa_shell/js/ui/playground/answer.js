/** The answer as it comes, whole or in chunks; or the error, in full. */
import { byId, h } from "../dom.js";
import { formatSeconds } from "../format.js";
import { t } from "../strings.js";

const MOST_RAW = 200; // chunks that are listed as JSON

export class Answer {
  #texts = []; #raw = []; #begun = performance.now(); #first = 0; #tokens = 0;

  constructor() {
    byId("answer").replaceChildren();
    byId("failure").replaceChildren();
    byId("facts").textContent = "";
    byId("raw").hidden = true;
  }

  /** @param {any} part a response, or a chunk of one */
  add(part) {
    this.#first ||= performance.now();
    if (this.#raw.length < MOST_RAW) this.#raw.push(part);
    for (const choice of part.choices ?? []) {
      const { index, message, delta } = choice;
      this.#textOf(index).data += choice.text ?? message?.content ?? delta?.content ?? "";
    }
    if (part.usage) this.#tokens = part.usage.completion_tokens;
    else this.#tokens += part.timings?.tokens ?? 0; // of each choice's last chunk
  }

  /** The text node of a choice; several are numbered. */
  #textOf(index) {
    while (this.#texts.length <= index) {
      const text = document.createTextNode("");
      const number = this.#texts.push(text);
      const name = number > 1 ? h("p", { class: "choice-name", text: t("playChoice", { number }) }) : null;
      byId("answer").append(h("div", { class: "choice", dir: "auto" }, name, text));
    }
    return this.#texts[index];
  }

  /** @param {any} error OpenAI's error object, with `status` */
  fail({ message, next_step: nextStep, ...rest }) {
    const rows = Object.entries(rest).filter(([, value]) => value !== null && value !== undefined);
    byId("failure").replaceChildren(
      h("p", {}, h("strong", { text: message })),
      ...(nextStep ? [h("p", { text: nextStep })] : []),
      h("dl", {}, ...rows.flatMap(([name, value]) => [
        h("dt", { text: name }), h("dd", { text: String(value) })])),
    );
  }

  /** @param {boolean} stopped */
  end(stopped) {
    const now = performance.now();
    const seconds = (ms) => formatSeconds(ms / 1000);
    const facts = [this.#tokens && t("tokens", { count: this.#tokens }),
      this.#first && t("playFirst", { time: seconds(this.#first - this.#begun) }),
      seconds(now - this.#begun), stopped && t("playStopped")];
    byId("facts").textContent = facts.filter(Boolean).join(" · ");
    byId("raw").hidden = this.#raw.length === 0;
    const shown = this.#raw.length === 1 ? this.#raw[0] : this.#raw;
    byId("raw-text").textContent = JSON.stringify(shown, null, 1);
  }
}
