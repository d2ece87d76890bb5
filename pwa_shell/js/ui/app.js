/**
 * The page's controller: which chat is open, which answer runs, and what the parts are told about
 * it.
 */
import { Announcer } from "./announcer.js";
import { ChatView } from "./chat_view.js";
import { pathTo, titleOf } from "./chat_store.js";
import { Composer } from "./composer.js";
import { byId, newId } from "./dom.js";
import { forgetStarted, startedBefore } from "./engine_session.js";
import { Generation } from "./generation.js";
import { chooseModel, DEFAULT_MODEL } from "./model_info.js";
import { ModelsPlace } from "./model_page/place.js";
import { Sidebar } from "./sidebar.js";
import { StartView } from "./start_view.js";
import { t } from "./strings.js";
import { toast } from "./toast.js";

/** @typedef {import("./chat_store.js").Chat} Chat */
/** @typedef {import("./chat_store.js").Message} Message */

/** The key of the draft that belongs to no chat yet. */
const NEW = "new";

export class App {
  /** @type {Chat|null} the open chat; null is a new one that nobody has written to */
  chat = null;
  /** @type {Message[]} all messages of the open chat, those of other branches included */
  messages = [];
  /** @type {Chat[]} */
  chats = [];
  /** @type {{run: Generation, chat: Chat}|null} the answer that runs, maybe in another chat */
  running = null;
  #deleted = new Set();
  #opening = 0;
  #opened = false;

  /**
   * @param {import("./engine_session.js").EngineSession} session
   * @param {import("./chat_store.js").ChatStore} store
   * @param {import("./model_info.js").DEFAULT_MODEL} model
   */
  constructor(session, store, model) {
    Object.assign(this, { session, store, model });
    this.announcer = new Announcer();
    this.composer = new Composer();
    this.sidebar = new Sidebar();
    this.start = new StartView(model);
    const parts = { scroller: byId("scroller"), list: byId("messages"), jump: byId("jump") };
    this.view = new ChatView(parts, { onRetry: (id) => this.retry(id), onNote: toast });
    this.models = new ModelsPlace({
      use: (row) => this.useModel(row),
      deleted: (id) => this.#modelDeleted(id),
      used: () => this.model.id,
      back: () => this.leaveModels(),
    });
    this.#connect();
  }

  /**
   * Open the chat of the address, look at the browser, and load the model if it was loaded here
   * before.
   */
  async begin() {
    this.chats = await this.store.listChats();
    await this.route();
    if (!this.store.persistent) toast(t("notKept"));
    if ((await this.session.check()) && startedBefore()) this.load();
  }

  #connect() {
    this.session.on("state", () => this.render());
    this.session.on("progress", (progress) => this.start.note(progress));
    this.start.on("start", () => this.load());
    this.start.on("example", (text) => this.send(text));
    this.composer.on("send", (text) => this.send(text));
    this.composer.on("stop", () => this.stop());
    this.composer.on("draft", () => this.#keepDraft());
    this.sidebar.on("open", (id) => this.go(id));
    this.sidebar.on("new", () => this.go(null));
    this.sidebar.on("delete", (id) => this.deleteChat(id));
    addEventListener("popstate", () => this.route());
    addEventListener("pagehide", () => {
      this.running?.run.save();
      if (this.#opened) this.#keepDraft(); // before that the box does not hold the draft yet
    });
  }

  #keepDraft() {
    this.store.setDraft(this.chat?.id ?? NEW, this.composer.text).catch(() => {});
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
    if (!models || !this.#opened) await this.#open(models ? null : wanted);
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

  /** @param {Chat|null} chat */
  async #open(chat) {
    const ticket = ++this.#opening;
    if (ticket > 1) this.#keepDraft();
    const [messages, draft] = await Promise.all([
      chat ? this.store.listMessages(chat.id) : [],
      this.store.getDraft(chat?.id ?? NEW),
    ]);
    if (ticket !== this.#opening) return; // the person has gone on to another chat
    this.chat = chat;
    this.messages = messages.map((message) => this.#current(message));
    this.view.show(this.#path(), this.running?.run ?? null);
    const early = ticket === 1 ? this.composer.text : ""; // typed while the page was still loading
    this.composer.setText(early || draft);
    this.#opened = true;
    this.render();
    if (!this.models.shown) this.composer.focus();
  }

  /**
   * The stored form of a message, or the one that is being written right now.
   * @param {Message} message
   */
  #current(message) {
    if (message.id === this.running?.run.message.id) return this.running.run.message;
    if (message.state !== "streaming") return message;
    return { ...message, state: "stopped", finish: "interrupted" };
  }

  #path() {
    return this.chat ? pathTo(this.messages, this.chat.leaf) : [];
  }

  /** @param {string} text */
  async send(typed) {
    if (this.running) return;
    const text = typed.toWellFormed?.() ?? typed; // half a pasted emoji would spoil the whole chat
    const now = Date.now();
    if (!this.chat) {
      this.chat = { id: newId(), title: titleOf(text), created: now, updated: now, leaf: null };
      this.chats.unshift(this.chat);
      history.replaceState(null, "", `#chat=${this.chat.id}`);
    }
    const question = this.#message("user", text, this.chat.leaf, "done");
    this.view.add(question);
    this.#answer(question);
  }

  /** Answer again the question that this answer belongs to. @param {string} id */
  async retry(id) {
    const old = this.messages.find((message) => message.id === id);
    const question = this.messages.find((message) => message.id === old?.parent);
    if (this.running || !question) return;
    const path = this.#path();
    for (const message of path.slice(path.indexOf(question) + 1)) this.view.remove(message.id);
    if (!old.text) {
      this.messages = this.messages.filter((message) => message !== old);
      this.store.deleteMessage(old.id).catch(() => {});
    }
    this.#answer(question);
  }

  /** @returns {Message} added to the open chat */
  #message(role, text, parent, state) {
    const last = this.messages.at(-1)?.created ?? 0; // the order is by time, so two never share one
    const created = Math.max(Date.now(), last + 1);
    const message = { id: newId(), chat: this.chat.id, parent, role, text, created, state };
    this.messages.push(message);
    this.chat.leaf = message.id;
    return message;
  }

  /** @param {Message} question */
  #answer(question) {
    const { chat } = this;
    const history = pathTo(this.messages, question.id)
      .filter((message) => message.text)
      .map(({ role, text }) => ({ role, content: text }));
    const answer = this.#message("assistant", "", question.id, "streaming");
    chat.updated = Date.now();
    this.chats.sort((a, b) => b.updated - a.updated);
    const run = new Generation(this.session, this.model, answer, history, () =>
      this.#save(chat, [answer]),
    );
    this.running = { run, chat };
    this.announcer.begin();
    run.on("text", () => this.announcer.progress(answer.text));
    run.on("end", () => this.#ended(run));
    this.view.add(answer, run);
    this.#save(chat, [question, answer]);
    this.render();
    run.run();
  }

  #ended(run) {
    this.announcer.progress(run.message.text, true);
    this.running = null;
    this.render();
  }

  /** @returns {boolean} whether something was running */
  stop() {
    this.running?.run.stop();
    return Boolean(this.running);
  }

  /** @param {Chat} chat @param {Message[]} messages */
  async #save(chat, messages) {
    if (this.#deleted.has(chat.id)) return;
    try {
      await this.store.save(chat, messages);
    } catch {
      toast(t("saveFailed"));
    }
  }

  /** @param {string} id */
  async deleteChat(id) {
    if (this.running?.chat.id === id) this.running.run.stop();
    this.#deleted.add(id);
    const removed = await this.store.deleteChat(id);
    this.chats = this.chats.filter((chat) => chat.id !== id);
    if (this.chat?.id === id) await this.go(null);
    this.render();
    toast(t("deleted"), { label: t("undo"), run: () => this.#undelete(removed) });
  }

  /** @param {{chat: Chat, messages: Message[]}} removed */
  async #undelete({ chat, messages }) {
    this.#deleted.delete(chat.id);
    await this.#save(chat, messages);
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
  }

  #renderStatus() {
    const { state } = this.session;
    const elsewhere = this.running && this.running.chat !== this.chat;
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
