/**
 * The page's controller: which chat is open, which answer runs, and what the parts are told about
 * it.
 */
import { Announcer } from "./announcer.js";
import { ChatView } from "./chat_view.js";
import { searchChats } from "./chat_search.js";
import { Composer } from "./composer.js";
import { Conversation } from "./conversation.js";
import { byId } from "./dom.js";
import { forgetStarted, startedBefore } from "./engine_session.js";
import { Extras } from "./extras.js";
import { chooseModel, DEFAULT_MODEL } from "./model_info.js";
import { ModelsPlace } from "./model_page/place.js";
import { splitThought } from "./reasoning.js";
import { requestSettings } from "./settings_registry.js";
import { SettingsStore } from "./settings_store.js";
import { Sidebar } from "./sidebar.js";
import { StartView } from "./start_view.js";
import { t } from "./strings.js";
import { toast } from "./toast.js";

/** @typedef {import("./chat_store.js").Chat} Chat */

/** The key of the draft that belongs to no chat yet. */
const NEW = "new";
const draftOf = (chat) => chat?.id ?? NEW;

export class App {
  /** @type {Chat[]} */
  chats = [];
  #opening = 0;
  #opened = false; // whether the box holds the open chat's draft: not while a chat is being read
  #shown = Promise.resolve();
  /** @type {any} dictation, reading aloud and the hands-free conversation (voice/setup.js) */
  voice = null;

  /**
   * @param {import("./engine_session.js").EngineSession} session
   * @param {import("./chat_store.js").ChatStore} store
   * @param {import("./model_info.js").DEFAULT_MODEL} model
   */
  constructor(session, store, model) {
    Object.assign(this, { session, store, model });
    this.announcer = new Announcer();
    this.composer = new Composer();
    this.sidebar = new Sidebar((words, found, signal) => searchChats(store, words, found, signal));
    this.start = new StartView(model);
    const parts = { scroller: byId("scroller"), list: byId("messages"), jump: byId("jump") };
    this.settings = new SettingsStore();
    session.context = this.settings.all.context ?? null;
    this.talk = new Conversation(session, store, (chat) => this.request(chat));
    this.view = new ChatView(parts, {
      act: (action, id, button) => this.#act(action, id, button),
      note: toast,
      place: (message) => this.talk.place(message),
    });
    this.models = new ModelsPlace({
      use: (row) => this.useModel(row),
      deleted: (id) => this.#modelDeleted(id),
      used: () => this.model.id,
      back: () => this.leaveModels(),
      attach: (files) => this.composer.addFiles(files),
    });
    this.extras = new Extras(this);
    this.#connect();
  }

  /**
   * Open the chat of the address, look at the browser, and load the model if it was loaded here
   * before.
   */
  async begin() {
    this.chats = await this.store.listChats();
    await this.route();
    if (!this.store.persistent) toast(t(this.store.newer ? "keptByNewer" : "notKept"));
    if ((await this.session.check()) && startedBefore()) this.load();
  }

  get chat() {
    return this.talk.chat;
  }

  get running() {
    return this.talk.running;
  }

  #connect() {
    const { composer, sidebar, talk } = this;
    this.session.on("state", () => this.render());
    this.session.on("progress", (progress) => this.start.note(progress));
    this.start.on("start", () => {
      this.load();
      composer.focus(); // the button that had it is gone
    });
    this.start.on("example", (text) => this.#send(text));
    composer.on("send", ({ text, files }) => this.#send(text, files));
    composer.on("stop", () => this.stop());
    composer.on("draft", () => this.#keepDraft());
    composer.on("late", ({ draft, file }) => this.#attachLate(draft, file));
    composer.on("note", toast);
    sidebar.on("open", (id) => this.go(id));
    sidebar.on("new", () => this.go(null));
    sidebar.on("menu", ({ id, button }) => this.extras.chatMenu(id, button));
    sidebar.on("rename", ({ id, title }) => this.renameChat(id, title));
    this.#connectTalk();
    addEventListener("popstate", () => this.route());
    addEventListener("pagehide", () => {
      this.running?.run.save();
      this.#keepDraft();
    });
  }

  #connectTalk() {
    const { talk } = this;
    talk.on("begin", (run) => this.#began(run));
    talk.on("end", (run) => {
      this.announcer.progress(splitThought(run.message.text).answer, true);
      this.render();
    });
    talk.on("path", () => {
      this.view.change(talk.path, null);
      this.render();
    });
    talk.on("unsaved", () => toast(t("saveFailed")));
    this.store.on("change", (change) => this.#changedElsewhere(change));
  }

  /** Send to the chat that was asked for, be it still on its way out of the store. */
  async #send(text, files = []) {
    await this.#boxReady();
    if (this.talk.send(text, files)) return;
    this.composer.putBefore({ text, files });
    toast(t("oneAnswer"));
  }

  /** Until the box holds the open chat's draft. */
  async #boxReady() {
    while (!this.#opened) await this.#shown;
  }

  async #keepDraft() {
    if (!this.#opened) return;
    const { text, files } = this.composer;
    await this.store.setDraft(draftOf(this.chat), text, files).catch(() => {});
  }

  /** A file that took longer to read than its chat was open. */
  async #attachLate(draft, file) {
    await this.#boxReady();
    if (draft === draftOf(this.chat)) return this.composer.add(file); // the person has come back
    if (draft !== NEW && !this.chats.some(({ id }) => id === draft)) return; // the chat was deleted
    await this.store.addToDraft(draft, file).catch(() => toast(t("saveFailed")));
  }

  /** Draw the page anew, with what is in the box. */
  async reload() {
    await this.#keepDraft();
    location.reload();
  }

  /** @param {Chat|null} chat @returns {{model: string, system: string, params: any}} */
  request(chat) {
    const chosen = requestSettings(chat?.settings ?? {}, this.settings.all, this.model);
    return { model: this.model.id, ...chosen };
  }

  load() {
    this.session.ensure().then(
      () => this.announcer.say(t("ready")),
      () => {},
    ); // the session shows the failure
  }

  /** Show the chat that the address names, or the Models page, under which the chat stays open. */
  async route() {
    const models = location.hash === "#models";
    this.sidebar.close();
    const shown = this.models.show(models);
    const id = new URLSearchParams(location.hash.slice(1)).get("chat");
    const wanted = this.chats.find((chat) => chat.id === id) ?? null;
    if (id && !wanted) {
      history.replaceState(null, "", location.pathname + location.search);
      toast(t("chatNotHere"));
    }
    if (!models || !this.#opened) await (this.#shown = this.#open(models ? null : wanted));
    else this.render();
    await shown;
  }

  /** @returns {boolean} whether there was a Models page to leave */
  leaveModels() {
    if (!this.models.shown) return false;
    this.go(this.chat?.id ?? null);
    return true;
  }

  /** Load another stored model into the chat. @param {any} row id, name, bytes, license */
  async useModel(row) {
    this.stop();
    this.#setModel(chooseModel(row));
    this.leaveModels();
    await this.session.use(this.model);
    this.load();
  }

  /** The chat cannot go on with a model that is gone, and must not fetch it again unasked. */
  #modelDeleted(id) {
    if (id !== this.model.id) return;
    forgetStarted();
    if (id === DEFAULT_MODEL.id) return;
    this.#setModel(chooseModel(DEFAULT_MODEL));
    this.session.use(this.model);
  }

  #setModel(model) {
    this.model = model;
    this.start.setModel(model);
  }

  /** @param {string|null} id a chat, or null for a new one */
  go(id) {
    history.pushState(null, "", id ? `#chat=${id}` : location.pathname + location.search);
    return this.route();
  }

  /**
   * What is typed while the store is read belongs to the chat that opens.
   * @param {Chat|null} chat
   */
  async #open(chat) {
    const ticket = ++this.#opening;
    const stays = this.#opened && chat?.id === this.chat?.id; // the box has what it had
    if (this.#opened && !stays) {
      this.#keepDraft();
      this.composer.leave(draftOf(this.chat));
      this.#opened = false;
    }
    try {
      const [messages, draft] = await Promise.all([
        this.talk.read(chat),
        this.store.getDraft(draftOf(chat)),
      ]);
      if (ticket !== this.#opening) return; // the person has gone on to another chat
      const answering = chat && this.running?.chat.id === chat.id;
      this.talk.show(answering ? this.running.chat : chat, messages);
      this.view.show(this.talk.path, this.running?.run ?? null);
      if (!stays) this.composer.putBefore(draft);
    } finally {
      if (ticket === this.#opening) this.#opened = true;
    }
    this.render();
    if (!this.models.shown) this.composer.focus();
  }

  /** An answer begins, in the chat that is open. */
  #began(run) {
    const { chat } = this;
    if (!this.chats.some(({ id }) => id === chat.id)) {
      this.chats.unshift(chat);
      history.replaceState(null, "", `#chat=${chat.id}`);
    }
    this.chats = [chat, ...this.chats.filter(({ id }) => id !== chat.id)];
    this.announcer.begin();
    run.on("text", () => this.announcer.progress(splitThought(run.message.text).answer));
    if (this.view.view(run.message.id)) this.view.follow(run);
    this.view.change(this.talk.path, run);
    this.render();
  }

  /** Read the list anew; a chat in use stays the object that it is, with what was written. */
  async #list() {
    const stored = await this.store.listChats();
    const { running, talk } = this;
    this.chats = stored.map((chat) => {
      if (chat.id === running?.chat.id) return running.chat;
      return chat.id === talk.chat?.id ? Object.assign(talk.chat, chat) : chat;
    });
  }

  /** Another tab wrote to a chat. @param {{chat: string, gone: boolean}} change */
  async #changedElsewhere({ chat: id, gone }) {
    if (gone) this.talk.drop(id);
    else this.talk.restore(id);
    await this.#list();
    const { running } = this;
    const chat = this.chats.find((other) => other.id === this.chat?.id) ?? null;
    if (this.chat && !chat && gone) return this.go(null);
    if (this.chat?.id === id && running?.chat.id !== id && chat) {
      const messages = await this.talk.read(chat);
      if (this.chat?.id !== id || this.running?.chat.id === id) return;
      this.talk.show(chat, messages);
      this.view.change(this.talk.path, null);
    }
    this.render();
  }

  /** What a button under a message asks for. */
  #act(action, id, button) {
    const { talk } = this;
    if (action === "retry") talk.regenerate(id);
    else if (action === "resume") talk.resume(id);
    else if (action === "select") this.#select(id, button);
    else if (action === "takeover") this.#takeOver(id);
    else if (action === "edit") this.view.view(id)?.edit((text) => this.#edit(id, text));
    else if (action === "speak") this.voice.reading.toggle(id);
    else if (action === "more") this.extras.messageMenu(id, button);
  }

  /** @param {string} id @param {string} text @returns {boolean} whether it was sent */
  #edit(id, text) {
    const free = !this.running;
    if (free) this.talk.edit(id, text);
    else toast(t("oneAnswer"));
    return free;
  }

  async #takeOver(id) {
    if (!(await this.talk.takeOver(id))) toast(t("otherTabSilent"));
  }

  #select(id, button) {
    const back = button.getAttribute("aria-label");
    this.talk.select(button.dataset.to);
    const view = this.view.view(button.dataset.to);
    const same = view?.node.querySelector(`[data-action=select][aria-label="${back}"]`);
    const other = view?.node.querySelector("[data-action=select]:enabled");
    /** @type {HTMLElement} */ (same?.disabled ? other : same)?.focus();
  }

  /** @returns {boolean} whether something was running */
  stop() {
    return this.talk.stop();
  }

  /** @param {string} id @param {string} title */
  async renameChat(id, title) {
    const chat = this.chats.find((other) => other.id === id);
    if (!chat || !title.trim() || title === chat.title) return this.render();
    chat.title = title.trim();
    await this.talk.save(chat);
    this.render();
  }

  /** Chats came in from elsewhere. @param {string|null} id one to open */
  async reread(id) {
    await this.#list();
    if (id) await this.go(id);
    this.render();
  }

  /** @param {string} id */
  async deleteChat(id) {
    this.talk.drop(id);
    const removed = await this.store.deleteChat(id);
    this.chats = this.chats.filter((chat) => chat.id !== id);
    if (this.chat?.id === id) await this.go(null);
    this.render();
    toast(t("deleted"), { label: t("undo"), run: () => this.#undelete(removed) });
  }

  /** @param {{chat: Chat, messages: any[]}} removed */
  async #undelete({ chat, messages }) {
    this.talk.restore(chat.id);
    await this.talk.save(chat, messages);
    this.chats = [...this.chats, chat].sort((a, b) => b.updated - a.updated);
    await this.go(chat.id);
  }

  /**
   * Bring all that depends on the state up to date; it is cheap and runs on events of a person's
   * pace.
   */
  render() {
    const { session, chat, running } = this;
    const empty = !chat;
    this.sidebar.render(this.chats, chat?.id ?? null);
    this.start.render(session, empty);
    this.composer.setBusy(Boolean(running));
    this.composer.setPlaceholder(
      t(session.state === "loading" ? "placeholderLoading" : "placeholder"),
    );
    const title = this.models.shown ? t("models") : (chat?.title ?? "");
    byId("title").textContent = this.models.shown ? "" : title;
    document.title = title ? `${title} – ${t("appName")}` : t("appName");
    document.documentElement.toggleAttribute("data-busy", Boolean(running));
    this.#renderStatus();
    this.extras.renderGauge();
  }

  #renderStatus() {
    const { state } = this.session;
    const elsewhere = this.running && this.running.chat.id !== this.chat?.id;
    const busy = this.running && state === "ready";
    const shown = busy ? "busy" : state;
    const texts = {
      checking: "statusIdle",
      idle: "statusIdle",
      loading: "statusLoading",
      ready: "statusReady",
      busy: "statusBusy",
      failed: "statusFailed",
    };
    byId("status").dataset.state = shown;
    byId("status-text").textContent = t(elsewhere ? "answering" : texts[shown]);
  }
}
