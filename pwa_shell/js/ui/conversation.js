/**
 * The open chat: its tree of messages, the answer that runs, and what a person can do with both.
 * Nothing here touches the page.
 */
import { answerEnded, answersUnderWay, holdAnswer } from "./answer_lock.js";
import { contentOf } from "./attachments.js";
import { leafUnder, pathTo, siblings, subtree, titleOf } from "./chat_tree.js";
import { Emitter, newId } from "./dom.js";
import { Generation } from "./generation.js";
import { splitThought } from "./reasoning.js";
import { stepMessages } from "./tools/agent_loop.js";

/** @typedef {import("./chat_store.js").Chat} Chat */
/** @typedef {import("./chat_store.js").Message} Message */

/** How long another tab may take to stop and to store what it has. */
const TAKEOVER_MS = 8000;

/**
 * Emits `path` when other messages are shown, `begin` (Generation) and `end` (Generation) of an
 * answer, `saved` (Chat) and `unsaved` after a write.
 */
export class Conversation extends Emitter {
  /** @type {Chat|null} null is a new one that nobody has written to */
  chat = null;
  /** @type {Message[]} those of other branches included */
  messages = [];
  /** @type {{run: Generation, chat: Chat, messages: Message[]}|null} maybe in another chat */
  running = null;
  #gone = new Set();
  /** @type {{loop: Function}|null} tools that answers may call (tools/setup.js) */
  tools = null;

  /**
   * @param {import("./engine_session.js").EngineSession} session
   * @param {import("./chat_store.js").ChatStore} store
   * @param {(chat: Chat) => {model: string, system: string, params: Record<string, any>}} settings
   */
  constructor(session, store, settings) {
    super();
    Object.assign(this, { session, store, settings });
    store.on("stop", (id) => this.running?.run.message.id === id && this.stop());
  }

  get path() {
    return this.chat ? pathTo(this.messages, this.chat.leaf) : [];
  }

  /** @param {string} id @returns {Message|undefined} */
  message(id) {
    return this.messages.find((message) => message.id === id);
  }

  /** @param {Message} message @returns {{index: number, all: Message[]}} its place among siblings */
  place(message) {
    const all = siblings(this.messages, message);
    return { index: all.indexOf(message), all };
  }

  /** What is stored of a chat, for `show`. @param {Chat|null} chat @returns {Promise<Message[]>} */
  async read(chat) {
    if (!chat) return [];
    if (this.running?.chat.id === chat.id) return this.running.messages;
    const [messages, live] = await Promise.all([
      this.store.listMessages(chat.id),
      answersUnderWay(),
    ]);
    return messages.map((message) => {
      if (message.state !== "streaming" || live.has(message.id)) return message;
      return { ...message, state: "stopped", finish: "interrupted" };
    });
  }

  /** @param {Chat|null} chat @param {Message[]} messages of `read` */
  show(chat, messages) {
    this.chat = chat;
    this.messages = messages;
  }

  /**
   * @param {string} typed
   * @param {import("./chat_store.js").TextFile[]} [files]
   * @returns {boolean} false: an answer is being written
   */
  send(typed, files = []) {
    if (this.running) return false;
    const text = typed.toWellFormed?.() ?? typed; // half a pasted emoji would spoil the whole chat
    const now = Date.now();
    const title = titleOf(text || (files[0]?.name ?? ""));
    this.chat ??= { id: newId(), title, created: now, updated: now, leaf: null, settings: {} };
    const question = this.#add("user", text, this.chat.leaf, "done");
    if (files.length) question.files = files;
    this.#answer(question);
    return true;
  }

  /** Ask anew in another branch. @param {string} id a question @param {string} text */
  edit(id, text) {
    const old = this.message(id);
    if (this.running || !old) return;
    const question = this.#add("user", text.toWellFormed?.() ?? text, old.parent, "done");
    if (old.files?.length) question.files = old.files;
    this.#answer(question);
  }

  /** Answer the question of this answer once more, beside it. @param {string} id */
  regenerate(id) {
    const old = this.message(id);
    const question = old && this.message(old.parent);
    if (this.running || !question) return;
    if (!old.text) {
      this.messages.splice(this.messages.indexOf(old), 1);
      this.store.deleteMessages(this.chat, [old.id]).catch(() => {});
    }
    this.#answer(question);
  }

  /** Write on where an answer was stopped or cut. @param {string} id */
  resume(id) {
    const answer = this.message(id);
    if (this.running || answer?.role !== "assistant" || !answer.text) return;
    Object.assign(answer, { state: "streaming", finish: null, problem: null });
    this.chat.leaf = answer.id;
    this.#run(answer);
  }

  /**
   * Write on here what another tab writes.
   * @param {string} id
   * @returns {Promise<boolean>} false: that tab did not stop
   */
  async takeOver(id) {
    const { chat } = this;
    if (this.running) return true;
    this.store.askToStop(id);
    if (!(await answerEnded(id, TAKEOVER_MS))) return false;
    const messages = await this.read(chat);
    if (this.chat !== chat || this.running) return true; // the person has gone on meanwhile
    this.show(chat, messages);
    this.emit("path");
    if (this.message(id)?.text) this.resume(id);
    else this.regenerate(id);
    return true;
  }

  /** Show the branch of a message. @param {string} id */
  select(id) {
    if (this.running?.chat === this.chat) return;
    this.chat.leaf = leafUnder(this.messages, id);
    this.save(this.chat);
    this.emit("path");
  }

  /**
   * Delete a message and what follows from it.
   * @param {string} id
   * @returns {Promise<() => Promise<void>>} undoes it
   */
  async remove(id) {
    const { chat } = this;
    const message = this.message(id);
    const gone = subtree(this.messages, id);
    const { leaf } = chat;
    const others = this.place(message).all.filter((other) => other !== message);
    this.messages = this.messages.filter((other) => !gone.includes(other));
    const next = others.at(-1);
    chat.leaf = next ? leafUnder(this.messages, next.id) : message.parent;
    this.emit("path");
    await this.store.deleteMessages(chat, gone.map((row) => row.id));
    return async () => {
      chat.leaf = leaf;
      if (this.chat === chat) this.messages.push(...gone);
      await this.save(chat, gone);
      if (this.chat === chat) this.emit("path");
    };
  }

  /** A new chat of the messages up to one. @param {string} id @returns {Promise<Chat>} */
  async branch(id) {
    const ids = new Map();
    const path = pathTo(this.messages, id);
    const now = Date.now();
    const chat = { ...this.chat, id: newId(), created: now, updated: now, leaf: null };
    const copies = path.map((message) => {
      ids.set(message.id, newId());
      const parent = ids.get(message.parent) ?? null;
      return { ...message, id: ids.get(message.id), chat: chat.id, parent };
    });
    chat.leaf = copies.at(-1).id;
    await this.save(chat, copies);
    return chat;
  }

  /** @returns {boolean} whether something was running */
  stop() {
    this.running?.run.stop();
    return Boolean(this.running);
  }

  /** Forget a chat that is deleted; nothing of it is written any more. @param {string} id */
  drop(id) {
    if (this.running?.chat.id === id) this.running.run.stop();
    this.#gone.add(id);
  }

  /** @param {string} id a chat that is back */
  restore(id) {
    this.#gone.delete(id);
  }

  /** @param {Chat} chat @param {Message[]} [messages] */
  async save(chat, messages = []) {
    if (this.#gone.has(chat.id)) return;
    try {
      await this.store.save(chat, messages);
      this.emit("saved", chat);
    } catch {
      this.emit("unsaved");
    }
  }

  /** @returns {Message} added to the open chat */
  #add(role, text, parent, state) {
    let last = 0; // the order is by time, so two never share one
    for (const { created } of this.messages) last = Math.max(last, created);
    const created = Math.max(Date.now(), last + 1);
    const message = { id: newId(), chat: this.chat.id, parent, role, text, created, state };
    this.messages.push(message);
    this.chat.leaf = message.id;
    return message;
  }

  #answer(question) {
    this.#run(this.#add("assistant", "", question.id, "streaming"), question);
  }

  /** What is sent: the path, without files' chips and former thoughts. @param {Message} answer */
  #request(answer) {
    const { model, system, params } = this.settings(this.chat);
    const messages = system ? [{ role: "system", content: system }] : [];
    for (const message of pathTo(this.messages, answer.id)) {
      const own = message === answer;
      const user = message.role === "user";
      const content = user ? contentOf(message) : own ? message.text : splitThought(message.text).answer;
      messages.push(...stepMessages(message));
      if (content) messages.push({ role: message.role, content });
    }
    return { model, messages, ...params };
  }

  #run(answer, question = null) {
    const { chat } = this;
    chat.updated = Date.now();
    const save = () => this.save(chat, [answer]);
    const run = new Generation(this.session, answer, this.#request(answer), save);
    run.agent = this.tools?.loop(chat, answer) ?? null;
    this.running = { run, chat, messages: this.messages };
    let stored = null; // a tab that takes over reads what is stored
    holdAnswer(answer.id, new Promise((resolve) => (stored = resolve)));
    run.on("end", () => {
      this.running = null;
      this.emit("end", run);
    });
    this.emit("begin", run);
    this.save(chat, question ? [question, answer] : [answer]);
    run.run().finally(stored);
  }
}
