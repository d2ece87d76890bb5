/** What chat_store.js does, for a browser that keeps nothing. */
import { Emitter } from "./dom.js";

export class MemoryStore extends Emitter {
  persistent = false;
  #chats = new Map();
  #messages = new Map();
  #drafts = new Map();

  /** @param {boolean} [newer] whether a later version of the app wrote what the browser keeps */
  constructor(newer = false) {
    super();
    this.newer = newer;
  }

  async listChats() {
    return [...this.#chats.values()].sort((a, b) => b.updated - a.updated);
  }

  async listMessages(id) {
    return [...this.#messages.values()]
      .filter((m) => m.chat === id)
      .sort((a, b) => a.created - b.created);
  }

  async *everyMessage() {
    yield [...this.#messages.values()];
  }

  async save(chat, messages = []) {
    this.#chats.set(chat.id, { ...chat });
    for (const message of messages) this.#messages.set(message.id, { ...message });
  }

  async saveAll(parts) {
    for (const { chat, messages } of parts) await this.save(chat, messages);
  }

  async deleteChat(id) {
    const removed = { chat: this.#chats.get(id), messages: await this.listMessages(id) };
    this.#chats.delete(id);
    this.#drafts.delete(id);
    for (const message of removed.messages) this.#messages.delete(message.id);
    return removed;
  }

  async deleteMessages(chat, ids) {
    this.#chats.set(chat.id, { ...chat });
    for (const id of ids) this.#messages.delete(id);
  }

  async getDraft(chat) {
    return this.#drafts.get(chat) ?? { text: "", files: [] };
  }

  async setDraft(chat, text, files = []) {
    if (text || files.length) this.#drafts.set(chat, { text, files });
    else this.#drafts.delete(chat);
  }

  async addToDraft(chat, file) {
    const { text, files } = this.#drafts.get(chat) ?? { text: "", files: [] };
    this.#drafts.set(chat, { text, files: [...files, file] });
  }
}
