/**
 * Where the Models page stands in the app: behind `#models`, made when it is first asked for. It
 * also takes models that are dropped anywhere.
 */
import { byId } from "../dom.js";
import { listenForDrops } from "./drop.js";

export class ModelsPlace {
  /** @type {import("./page.js").ModelsPage|null} */
  #page = null;
  #shown = false;

  /**
   * @param {{use: (model: any) => void, deleted: (id: string) => void, used: () => string,
   *   back: () => void, attach: (files: File[]) => void}} chat what the page tells the chat, and asks it
   */
  constructor(chat) {
    this.chat = chat;
    const model = async (found) => {
      found.catch(() => {}); // reported where it is awaited
      location.hash = "#models";
      (await this.#made()).import(found);
    };
    listenForDrops({ shown: () => this.#shown, model, text: (files) => chat.attach(files) });
  }

  get shown() {
    return this.#shown;
  }

  /** @param {boolean} shown */
  async show(shown) {
    if (this.#shown === shown) return;
    this.#shown = shown;
    document.documentElement.dataset.view = shown ? "models" : "chat";
    for (const id of ["scroller", "dock"]) byId(id).hidden = shown;
    byId("models").hidden = !shown;
    const link = byId("side-models");
    if (shown) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
    if (!shown) return this.#page?.close();
    const page = await this.#made();
    if (!this.#shown) return;
    page.setUsed(this.chat.used());
    byId("models").scrollTop = 0;
    page.heading.focus({ preventScroll: true });
    await page.open();
  }

  async #made() {
    const { ModelsPage } = await import("./page.js");
    if (this.#page) return this.#page;
    const page = (this.#page = new ModelsPage(askCatalog));
    page.setUsed(this.chat.used());
    page.on("back", () => this.chat.back());
    page.on("use", (model) => this.chat.use(model));
    page.on("deleted", (id) => {
      this.chat.deleted(id);
      page.setUsed(this.chat.used());
    });
    return page;
  }
}

/** What could be had and what of it fits: the engine's Python knows. */
async function askCatalog() {
  const { catalog } = await import("../../../jird.js");
  return catalog ? catalog() : null;
}
