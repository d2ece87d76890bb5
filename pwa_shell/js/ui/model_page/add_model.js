/** Add a model: by its hub name or address, looked up before any download, or from own files. */
import { Emitter, h } from "../dom.js";
import { formatBytes } from "../format.js";
import { problemBox } from "../message_foot.js";
import { isAbort, toProblem } from "../problem.js";
import { t } from "../strings.js";
import { AccessForm } from "./access_form.js";
import { filesOfInput } from "./drop.js";
import { hubBase, tokenOfHub } from "./hub_access.js";
import { factsText, filesText, sizeText } from "./texts.js";

/** Emits `download` (spec) and `files` ([{path, file}]). */
export class AddModel extends Emitter {
  #looking = null;

  /** @param {import("./library.js").ModelsLibrary} models */
  constructor(models) {
    super();
    this.models = models;
    this.input = field("text", { id: "add-model", "data-testid": "add-model", dir: "ltr",
      placeholder: t("addPlaceholder"), autocapitalize: "none", autocorrect: "off" });
    this.revision = field("text", { id: "add-revision", "data-testid": "add-revision", dir: "ltr",
      autocapitalize: "none" });
    this.look = h("button", { type: "submit", class: "button small", text: t("lookUp"),
      "data-testid": "look-up" });
    this.access = new AccessForm();
    this.result = h("div", { class: "found", "data-testid": "found", "aria-live": "polite" });
    const form = h("form", { class: "add-form", autocomplete: "off" },
      h("label", { for: "add-model", text: t("addLabel") }),
      h("div", { class: "add-line" }, this.input, this.look));
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.lookUp();
    });
    this.node = h("section", { class: "add", "aria-labelledby": "add-title" },
      h("h2", { id: "add-title", text: t("addModel") }), h("p", { text: t("addText") }), form,
      h("details", { class: "access", "data-testid": "access" },
        h("summary", { text: t("access") }),
        h("label", { for: "add-revision", text: t("revision") }), this.revision,
        h("small", { text: t("revisionHint") }), this.access.node),
      this.result, this.#ownFiles());
  }

  /** What the person typed -> its files and sizes. @param {string} [file] of several */
  async lookUp(file) {
    const model = this.input.value.trim();
    if (!model) return this.input.focus();
    this.#looking?.abort();
    const { signal } = (this.#looking = new AbortController());
    this.result.replaceChildren(h("p", { class: "looking", text: t("lookingAt") }));
    const revision = this.revision.value.trim() || undefined;
    const asked = { model, file, revision, base: hubBase(), token: tokenOfHub() };
    try {
      const spec = await this.models.resolve(asked, signal);
      if (!signal.aborted) this.#show(spec);
    } catch (error) {
      if (isAbort(error) || signal.aborted) return;
      const { choices } = error.facts ?? {};
      const several = choices?.length > 0;
      this.result.replaceChildren(
        several ? this.#choices(choices) : problemBox(toProblem(error), false));
    }
  }

  /** Show why files that were chosen cannot be taken. @param {any} error */
  refuse(error) {
    this.result.replaceChildren(problemBox(toProblem(error), false));
    this.result.scrollIntoView({ block: "nearest" });
  }

  #show(spec) {
    const sizes = spec.files.map(({ size }) => size);
    const bytes = sizes.includes(null) ? null : sizes.reduce((sum, size) => sum + size, 0);
    const here = this.models.rows?.some((row) => row.id === spec.id && row.state === "complete");
    const label = bytes === null ? t("download") : t("downloadSize", { size: formatBytes(bytes) });
    const button = h("button", { type: "button", class: "button small", text: label,
      "data-testid": "found-download", on: { click: () => this.#take(spec) } });
    const facts = factsText({ license: spec.license, source: spec.source, bytes: 0 });
    this.result.replaceChildren(
      h("div", { class: "found-head" },
        h("div", {}, h("strong", { text: spec.name, dir: "auto" }), h("p", { text: facts })),
        here ? h("p", { text: t("already") }) : button),
      h("ul", { class: "found-files" }, ...spec.files.map(({ name, size }) => h("li", {},
        h("span", { text: name }), h("span", { text: sizeText(size) })))),
      h("p", { class: "found-total", text: t("filesTotal",
        { files: filesText(spec.files.length), size: sizeText(bytes) }) }));
  }

  #take(spec) {
    this.result.replaceChildren();
    this.input.value = "";
    this.emit("download", spec);
  }

  #choices(choices) {
    return h("div", { class: "choices" }, h("p", { text: t("whichFile") }),
      h("ul", {}, ...choices.map(({ name, bytes }) => h("li", {},
        h("button", { type: "button", class: "choice", on: { click: () => this.lookUp(name) } },
          h("span", { text: name }), h("span", { text: sizeText(bytes) }))))));
  }

  #ownFiles() {
    const pick = (folder) => {
      const input = /** @type {HTMLInputElement} */ (h("input", { type: "file", multiple: true,
        hidden: true, webkitdirectory: folder,
        "data-testid": folder ? "pick-folder" : "pick-files" }));
      input.addEventListener("change", () => {
        this.emit("files", filesOfInput(input));
        input.value = ""; // the same file may be chosen again
      });
      const text = t(folder ? "chooseFolder" : "chooseFiles");
      const open = { click: () => input.click() };
      return [input, h("button", { type: "button", class: "button plain", text, on: open })];
    };
    const folders = "webkitdirectory" in HTMLInputElement.prototype;
    return h("div", { class: "own-files" }, h("h3", { text: t("ownFiles") }),
      h("p", { text: t("ownText") }),
      h("div", { class: "own-buttons" }, ...pick(false), ...(folders ? pick(true) : [])));
  }
}

/** @returns {HTMLInputElement} */
function field(type, props) {
  const all = { type, class: "field", autocomplete: "off", ...props };
  return /** @type {HTMLInputElement} */ (h("input", all));
}
