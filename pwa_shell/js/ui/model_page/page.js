/** The Models page: what is stored, what can be had, how much room there is, and adding a model. */
import { chooseImport } from "../../storage/candidates.js";
import { confirmed } from "../confirm.js";
import { Emitter, byId, h, icon } from "../dom.js";
import { formatBytes } from "../format.js";
import { problemBox } from "../message_foot.js";
import { noteError } from "../error_log.js";
import { problemLine, toProblem } from "../problem.js";
import { t } from "../strings.js";
import { toast } from "../toast.js";
import { AddModel } from "./add_model.js";
import { joinOffers, siteOffers, specOf } from "./catalog.js";
import { ModelsLibrary, storedBytes } from "./library.js";
import { RowView } from "./row_view.js";
import { StoragePanel } from "./storage_panel.js";
import { sizeText } from "./texts.js";

/** Emits `use` ({id, name, bytes, license}), `deleted` (id) and `back`. */
export class ModelsPage extends Emitter {
  #rows = new Map();
  #offers = [];
  #frames = new Set();
  #catalogue = null;
  #answer = null;

  /** @param {() => Promise<any>} askCatalog app.catalog's rows with what fits; may need Python */
  constructor(askCatalog) {
    super();
    this.askCatalog = askCatalog;
    this.models = new ModelsLibrary();
    this.used = null;
    this.add = new AddModel(this.models);
    this.storage = new StoragePanel();
    this.failure = h("div", { class: "models-failure" });
    this.stored = list("stored");
    this.offered = list("offered");
    this.empty = h("p", { class: "models-none", text: t("noModels") });
    this.looking = h("p", { class: "models-none", role: "status", "data-testid": "catalog-state" });
    this.budget = h("p", { class: "models-none", hidden: true, "data-testid": "budget" });
    this.#build();
    this.#connect();
  }

  /** Show it; what is stored is listed at once, what could be as soon as it is known. */
  async open() {
    const opened = this.models.open();
    this.#catalogue ??= this.#readCatalogue();
    await opened;
  }

  close() {
    this.models.close();
  }

  /** @param {string|null} id of the model that the chat uses */
  setUsed(id) {
    this.used = id;
    this.render();
  }

  /** Take files that were chosen or dropped. @param {Promise<any[]>|any[]} found */
  async import(found) {
    try {
      const chosen = await chooseImport(await found);
      await this.models.open();
      this.models.import(this.#apart(chosen));
    } catch (error) {
      this.add.refuse(error);
    }
  }

  /** Own files of the same name, but of other sizes, are another model. */
  #apart(chosen) {
    const bytes = chosen.files.reduce((sum, { file }) => sum + file.size, 0);
    const other = ({ id }) => this.models.rows?.some((row) => row.id === id && row.bytes !== bytes);
    let apart = chosen;
    for (let count = 2; other(apart); count++) {
      const name = `${chosen.name} (${count})`;
      apart = { ...chosen, id: `local:${name}`, name };
    }
    return apart;
  }

  render() {
    const { rows, problem, info, foreign } = this.models;
    this.failure.replaceChildren(...(problem ? [problemBox(problem, false)] : []));
    this.storage.update(info, foreign, this.#answer);
    const stored = rows ?? [];
    const ids = new Set(stored.map((row) => row.id));
    const starting = [...this.models.activity.values()]
      .filter(({ id }) => !ids.has(id) && !this.#offer(id))
      .map(({ id, name }) => ({ id, name: name ?? id, bytes: 0, files: [] }));
    const offers = this.#offers.filter(({ id }) => !ids.has(id));
    this.#place([...stored, ...starting], offers);
    this.empty.hidden = !rows || stored.length + starting.length > 0;
    this.offersTitle.hidden = !offers.length && this.looking.hidden;
    for (const row of starting) this.#view(row.id).update(this.#shown(row.id, row));
    for (const id of [...ids, ...offers.map((offer) => offer.id)]) this.#update(id);
  }

  #build() {
    this.heading = h("h2", { id: "models-title", tabindex: -1, text: t("models") });
    const title = h("h2", { id: "offers-title", text: t("available") });
    this.offersTitle = h("section", { "aria-labelledby": "offers-title" },
      title, this.budget, this.looking, this.offered);
    const back = h("button", { type: "button", class: "models-back", "data-testid": "models-back",
      on: { click: () => this.emit("back") } }, icon("back"), h("span", { text: t("modelsBack") }));
    byId("models").replaceChildren(h("div", { class: "models-column" }, back, this.heading,
      h("p", { class: "models-lead", text: t("modelsLead") }), this.failure,
      h("section", { "aria-labelledby": "stored-title" },
        h("h2", { id: "stored-title", text: t("onDevice") }), this.empty, this.stored),
      this.offersTitle, this.add.node, this.storage.node));
    this.looking.hidden = true;
  }

  #connect() {
    const { models, storage, add } = this;
    models.on("change", () => this.render());
    models.on("activity", (id) => this.#updateSoon(id));
    models.on("asked", (yes) => {
      this.#answer = yes;
      toast(t(yes ? "askedYes" : "askedNo"));
    });
    models.on("done", ({ id, name, what, bytes }) => {
      const key = what === "deleted" ? "saidDeleted" : "saidComplete";
      toast(t(key, { name, size: formatBytes(bytes ?? 0) }));
      if (what === "deleted") this.emit("deleted", id);
    });
    storage.on("keep", () => models.askToKeep());
    storage.on("clear", (item) => this.#clear(item));
    add.on("download", (spec) => models.download(spec));
    add.on("files", (found) => this.import(found));
    byId("models").addEventListener("click", (event) => this.#click(event));
  }

  async #readCatalogue() {
    try {
      this.#offers = await siteOffers();
      this.render();
    } catch (error) {
      this.#offers = [];
    }
    this.#tellCatalogue(t("lookingUp"));
    try {
      const catalog = await this.askCatalog();
      if (catalog) this.#offers = joinOffers(this.#offers, catalog);
      this.budget.hidden = !catalog?.budget;
      this.budget.textContent = t("budget", { budget: formatBytes(catalog?.budget ?? 0) });
      this.#tellCatalogue("");
    } catch (error) {
      this.#tellCatalogue(`${t("noCatalog")} ${problemLine(error)}`);
      this.#catalogue = null; // the next visit tries again
    }
    this.render();
  }

  #tellCatalogue(text) {
    this.looking.textContent = text;
    this.looking.hidden = !text;
  }

  #offer(id) {
    return this.#offers.find((offer) => offer.id === id);
  }

  #view(id) {
    if (!this.#rows.has(id)) this.#rows.set(id, new RowView(id));
    return this.#rows.get(id);
  }

  /** The rows in their lists, in this order; the focus goes with a row that changes its list. */
  #place(stored, offers) {
    const held = /** @type {HTMLElement} */ (document.activeElement);
    const inRow = held.closest(".model");
    const wanted = new Set([...stored, ...offers].map(({ id }) => id));
    for (const [id, { node }] of this.#rows) {
      if (wanted.has(id)) continue;
      node.remove();
      this.#rows.delete(id);
    }
    for (const [target, rows] of [[this.stored, stored], [this.offered, offers]]) {
      rows.forEach(({ id }, at) => {
        const { node } = this.#view(id);
        if (target.children[at] !== node) target.insertBefore(node, target.children[at] ?? null);
      });
    }
    if (inRow && document.activeElement !== held)
      (held.isConnected ? held : this.heading).focus({ preventScroll: true });
  }

  #shown(id, row = this.models.rows?.find((other) => other.id === id)) {
    const { activity, problems, checks } = this.models;
    const problem = problems.get(id);
    return {
      row, offer: this.#offer(id), activity: activity.get(id), problem, check: checks.get(id),
      used: this.used === id, freeable: this.#freeable(problem),
    };
  }

  #update(id) {
    const shown = this.#shown(id);
    if (shown.row || shown.offer) this.#view(id).update(shown);
  }

  /** Progress comes often: a row is drawn at most once a frame. */
  #updateSoon(id) {
    if (this.#frames.has(id)) return;
    this.#frames.add(id);
    requestAnimationFrame(() => {
      this.#frames.delete(id);
      this.#update(id);
    });
  }

  #freeable(problem) {
    const items = problem?.code === "E_QUOTA" ? (problem.facts?.freeable ?? []) : [];
    return items.map((item) => ({ ...item, text: `${this.#name(item)} · ${sizeText(item.bytes)}` }));
  }

  #name({ kind, name }) {
    const row = kind === "model" && this.models.rows?.find(({ id }) => id === name);
    return row ? row.name : `${t(`kind_${kind}`) ?? kind} ${name}`;
  }

  #click(event) {
    const button = event.target.closest("[data-action]");
    if (!button || !button.closest(".model")) return;
    const { id } = button.closest(".model").dataset;
    const row = this.models.rows?.find((other) => other.id === id);
    const { action, kind, name } = button.dataset;
    const acts = {
      download: () => this.#download(id),
      resume: () => this.models.download({ id, name: row.name }),
      repair: () => this.models.download({ id, name: row.name }),
      pause: () => this.models.pause(id),
      cancel: () => this.#cancel(id, row),
      verify: () => this.models.verify(row),
      remove: () => this.#remove(row),
      use: () => this.#use(row),
      free: () => this.#free(kind, name, id),
    };
    acts[action]?.();
  }

  async #download(id) {
    const offer = this.#offer(id);
    this.models.problems.delete(id);
    try {
      await this.models.download(await specOf(offer, this.models));
    } catch (error) {
      this.models.problems.set(id, toProblem(error));
      noteError("models", toProblem(error));
      this.render();
    }
  }

  async #cancel(id, row) {
    const state = this.models.activity.get(id);
    const bytes = state?.stage === "download" ? (state.bytes_done ?? 0) : 0;
    const name = this.#view(id).label;
    const question = {
      title: t("cancelTitle", { name }), lines: [t("cancelText", { size: formatBytes(bytes) })],
      yes: t("cancel"), no: t("keepIt"),
    };
    if (bytes && !(await confirmed(question))) return;
    await this.models.cancel(row?.id ?? id);
  }

  async #remove(row) {
    const name = this.#view(row.id).label, size = formatBytes(storedBytes(row));
    const again = row.source?.kind === "local" ? t("deleteLocal") : t("deleteAgain", { size });
    const lines = [t("deleteText", { size }), row.state === "broken" ? "" : again];
    if (this.used === row.id) lines.push(t("deleteUsed"));
    const title = t("deleteTitle", { name });
    if (await confirmed({ title, lines: lines.filter(Boolean), yes: t("remove") }))
      await this.models.delete({ ...row, name });
  }

  #use(row) {
    const { id, bytes, license } = row;
    this.emit("use", { id, name: this.#view(id).label, bytes, license });
  }

  /** Make room for `wanted`, which the storage refused. */
  async #free(kind, name, wanted) {
    const row = kind === "model" && this.models.rows.find(({ id }) => id === name);
    if (row) await this.#remove(row);
    else await this.#clear(this.#foreign(kind, name));
    this.models.problems.delete(wanted);
    this.render();
  }

  #foreign(kind, name) {
    return this.models.foreign.find((item) => item.kind === kind && item.name === name);
  }

  async #clear(item) {
    if (!item) return;
    const { name } = item;
    const facts = { name, kind: t(`kind_${item.kind}`), size: sizeText(item.bytes) };
    const lines = [t("clearText", facts)];
    if (!(await confirmed({ title: t("clearTitle", facts), lines, yes: t("clear") }))) return;
    try {
      await this.models.clearForeign(item);
      toast(t("cleared", { name }));
    } catch (error) {
      toast(problemLine(error));
    }
  }
}

function list(name) {
  return h("ul", { class: "models-list", "data-testid": name });
}
