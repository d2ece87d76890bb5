/** How much room there is, whether the browser keeps it, where it lies, and what others keep. */
import { Emitter, h } from "../dom.js";
import { formatBytes } from "../format.js";
import { t } from "../strings.js";
import { sizeText } from "./texts.js";

/** Emits `keep` and `clear` ({kind, name, bytes}). */
export class StoragePanel extends Emitter {
  #foreign = [];

  constructor() {
    super();
    this.models = h("span", { class: "meter-models" });
    this.others = h("span", { class: "meter-others" });
    this.meter = h("div", { class: "meter", role: "meter", "aria-label": t("storage"),
      "aria-valuemin": 0, "data-testid": "meter" }, this.models, this.others);
    this.used = h("p", { class: "meter-text", "data-testid": "meter-text" });
    this.keptState = h("strong");
    this.keptText = h("span");
    this.keep = h("button", { type: "button", class: "button plain", text: t("askToKeep"),
      "data-testid": "persist", on: { click: () => this.emit("keep") } });
    this.kept = h("div", { class: "kept", "data-testid": "kept" },
      h("p", {}, this.keptState, " ", this.keptText), this.keep);
    this.backend = h("p", { class: "backend", "data-testid": "backend" });
    this.list = h("ul", { class: "foreign-list", "data-testid": "foreign" });
    this.foreign = h("section", { class: "foreign", "aria-labelledby": "foreign-title" },
      h("h3", { id: "foreign-title", text: t("foreign") }), h("p", { text: t("foreignText") }),
      this.list);
    this.list.addEventListener("click", (event) => this.#click(event));
    this.node = h("section", { class: "storage", "aria-labelledby": "storage-title" },
      h("h2", { id: "storage-title", text: t("storage") }), this.meter, this.used, this.kept,
      this.backend, this.foreign);
  }

  /** @param {any} info of the storage worker @param {any[]} foreign @param {boolean|null} answer */
  update(info, foreign, answer) {
    this.node.hidden = !info;
    if (!info) return;
    this.#showMeter(info);
    this.#showKept(info.persisted, answer);
    this.#showBackend(info);
    this.#showForeign(foreign);
  }

  #showMeter({ models_bytes: models, usage, quota }) {
    const share = (bytes) => `${Math.min(100, (100 * bytes) / quota)}%`;
    const facts = { used: formatBytes(usage ?? models), models: formatBytes(models) };
    this.meter.hidden = !quota;
    this.meter.classList.toggle("full", Boolean(quota) && usage > 0.9 * quota);
    if (!quota) return void (this.used.textContent = t("usedUnknown", facts));
    this.models.style.inlineSize = share(models);
    this.others.style.inlineSize = share(Math.max(0, usage - models));
    this.meter.setAttribute("aria-valuemax", quota);
    this.meter.setAttribute("aria-valuenow", usage);
    const text = `${t("used", { ...facts, quota: formatBytes(quota) })}. ${t("usedModels", facts)}`;
    this.meter.setAttribute("aria-valuetext", text);
    this.used.textContent = text;
  }

  #showKept(persisted, answer) {
    this.kept.dataset.state = String(persisted);
    this.keptState.textContent = persisted === null ? "" : t(persisted ? "kept" : "notKeptShort");
    const known = t(persisted ? "keptText" : "notKeptText");
    const said = answer === false && !persisted ? ` ${t("askedNo")}` : "";
    this.keptText.textContent = (persisted === null ? t("keepUnknown") : known) + said;
    this.keep.hidden = persisted !== false;
  }

  #showBackend({ backend, refused }) {
    const name = t(`backend_${backend.replace("-", "_")}`) ?? backend;
    const why = refused.map((row) => `${row.name} (${row.reason})`).join("; ");
    this.backend.replaceChildren(
      h("strong", { text: t("backend") }), ` ${name}.`,
      why ? h("span", { class: "backend-why", text: ` ${t("backendWhy", { refused: why })}` }) : "");
    this.backend.classList.toggle("warning", backend === "memory");
  }

  #showForeign(items) {
    this.#foreign = items;
    this.foreign.hidden = !items.length;
    this.list.replaceChildren(...items.map(({ kind, name, bytes }, at) => h("li", {},
      h("span", { class: "foreign-name" }, h("span", { text: name, dir: "auto" }),
        h("small", { text: `${t(`kind_${kind}`)} · ${sizeText(bytes)}` })),
      h("button", { type: "button", class: "button plain", text: t("clear"), "data-at": at,
        "aria-label": t("ofModel", { action: t("clear"), name }) }))));
  }

  #click(event) {
    const button = event.target.closest("[data-at]");
    if (button) this.emit("clear", this.#foreign[Number(button.dataset.at)]);
  }
}
