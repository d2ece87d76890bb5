/** What stands beside the chat: menus, settings, prompts, the context gauge, files in and out. */
import { fileName, fromJsonl, toJsonl, toMarkdown } from "./chat_files.js";
import { showGauge, tokensOf } from "./context_gauge.js";
import { byId, h } from "./dom.js";
import { openMenu } from "./menu.js";
import { problemLine } from "./problem.js";
import { canShare, saveFile, shareText } from "./save_file.js";
import { t } from "./strings.js";
import { toast } from "./toast.js";

/** How long a typed context rests before the model is loaded with it. */
const CONTEXT_AFTER_MS = 1200;

export class Extras {
  #timer = 0;

  /** @param {import("./app.js").App} app */
  constructor(app) {
    this.app = app;
    byId("add").addEventListener("click", () => this.#addMenu());
    byId("settings").addEventListener("click", () => this.openSettings());
    app.composer.area.addEventListener("input", () => this.renderGauge());
    app.composer.on("draft", () => this.renderGauge()); // files came or went
    app.settings.on("change", () => this.#settingsChanged());
    this.picker = /** @type {HTMLInputElement} */ (byId("import-picker"));
    this.picker.addEventListener("change", () => {
      const [file] = this.picker.files;
      this.picker.value = "";
      if (file) this.importChats(file);
    });
  }

  async openSettings() {
    if (document.querySelector("[data-testid=settings-panel]")) return;
    const { SettingsPanel } = await import("./settings_panel.js");
    const { chat, session, model, settings: store, talk } = this.app;
    const defaults = { ...session.info?.defaults, ...model.sampling };
    Object.assign(defaults, { max_tokens: model.maxTokens, context: session.info?.context });
    const setChat = (values) => {
      chat.settings = values;
      talk.save(chat);
      this.renderGauge();
    };
    this.app.sidebar.close();
    const reload = () => this.app.reload();
    const extra = h("div", {}, this.app.voice.settings(), this.#transferRow());
    new SettingsPanel({ store, chat, defaults, setChat, extra, reload });
  }

  #transferRow() {
    const button = (text, run, id) =>
      h("button", { type: "button", class: "button small plain", text, "data-testid": id,
        on: { click: run } });
    return h("div", { class: "setting transfer" },
      h("p", { class: "setting-title", text: t("chatsAsFile") }),
      h("p", { class: "setting-help", text: t("chatsAsFileHelp") }),
      h("div", { class: "transfer-buttons" },
        button(t("exportAll"), () => this.exportAll(), "export-all"),
        button(t("import"), () => this.picker.click(), "import")));
  }

  async openPrompts() {
    const { openPrompts } = await import("./prompts_panel.js");
    const { settings, composer } = this.app;
    openPrompts(settings, (text) => composer.insert(text), composer.text);
  }

  /** Another context means another load, which waits until its value has come to rest. */
  #settingsChanged() {
    this.renderGauge();
    const { app } = this;
    const context = app.settings.all.context ?? null;
    if (context === app.session.context) return;
    app.session.context = context;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(async () => {
      if (!["ready", "loading"].includes(app.session.state)) return;
      app.stop();
      await app.session.use(app.model);
      app.load();
    }, CONTEXT_AFTER_MS);
  }

  renderGauge() {
    const { chat, talk, composer, session } = this.app;
    const { system } = this.app.request(chat);
    const { text, files } = composer;
    showGauge(tokensOf(talk.path, system, { text, files }), session.info?.context ?? null);
  }

  #addMenu() {
    openMenu(byId("add"), [
      { label: t("attach"), icon: "file", run: () => this.app.composer.picker.click() },
      { label: t("prompts"), icon: "prompts", run: () => this.openPrompts() },
      ...this.app.voice.menu(),
    ]);
  }

  messageMenu(id, button) {
    const { app } = this;
    const branch = async () => {
      const chat = await app.talk.branch(id);
      await app.reread(chat.id);
      toast(t("branched"));
    };
    const remove = async () => {
      const undo = await app.talk.remove(id);
      toast(t("messageDeleted"), { label: t("undo"), run: undo });
    };
    const spoken = app.talk.message(id)?.role === "assistant";
    const save = { label: t("saveSpeech"), icon: "sound", run: () => app.voice.reading.save(id) };
    openMenu(button, [
      ...(spoken ? [save] : []),
      { label: t("branchChat"), icon: "branch", run: branch },
      { label: t("deleteMessage"), icon: "trash", bad: true, run: remove },
    ]);
  }

  chatMenu(id, button) {
    const { app } = this;
    const share = { label: t("share"), icon: "share", run: () => this.#share(id) };
    openMenu(button, [
      { label: t("rename"), icon: "edit", run: () => app.sidebar.rename(id) },
      ...(canShare() ? [share] : []),
      { label: t("exportMarkdown"), icon: "down", run: () => this.#export(id, "md") },
      { label: t("exportJsonl"), icon: "down", run: () => this.#export(id, "jsonl") },
      { label: t("deleteChat"), icon: "trash", bad: true, run: () => app.deleteChat(id) },
    ]);
  }

  async #part(id) {
    const chat = this.app.chats.find((other) => other.id === id);
    return { chat, messages: await this.app.store.listMessages(id) };
  }

  async #export(id, end) {
    const part = await this.#part(id);
    const name = fileName(part.chat.title, end);
    if (end === "md") saveFile(name, [toMarkdown(part)], "text/markdown");
    else saveFile(name, toJsonl([part]), "application/jsonl");
  }

  async #share(id) {
    const part = await this.#part(id);
    const { title } = part.chat;
    if (!(await shareText(title, toMarkdown(part), fileName(title, "md")))) toast(t("shareFailed"));
  }

  async exportAll() {
    const chats = new Map(this.app.chats.map((chat) => [chat.id, { chat, messages: [] }]));
    for await (const messages of this.app.store.everyMessage()) {
      for (const message of messages) chats.get(message.chat)?.messages.push(message);
    }
    for (const { messages } of chats.values()) messages.sort((a, b) => a.created - b.created);
    const day = new Date().toISOString().slice(0, 10);
    saveFile(`jird-chats-${day}.jsonl`, toJsonl([...chats.values()]), "application/jsonl");
  }

  /** All of a file or nothing of it; chats that are here already stay as they are. @param {File} file */
  async importChats(file) {
    const { store, talk } = this.app;
    try {
      const parts = fromJsonl(await file.text(), file.name);
      const here = new Set((await store.listChats()).map(({ id }) => id));
      const fresh = parts.filter(({ chat }) => !here.has(chat.id));
      await store.saveAll(fresh);
      for (const { chat } of fresh) talk.restore(chat.id);
      await this.app.reread(null);
      toast(t("imported", { count: fresh.length, skipped: parts.length - fresh.length }));
    } catch (error) {
      toast(error.code ? `${problemLine(error)} (${error.code})` : t("saveFailed"));
    }
  }
}
