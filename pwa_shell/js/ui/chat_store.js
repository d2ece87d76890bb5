/**
 * Chats in IndexedDB. Messages form a tree (`parent`), and a chat points at the leaf that is shown
 * (`leaf`), so that alternatives of an answer can be kept without a new format.
 * @typedef {{id: string, title: string, created: number, updated: number, leaf: string|null}} Chat
 * @typedef {{tokens: number|null, ttft_ms: number|null, tps: number|null}} Stats
 * @typedef {{id: string, chat: string, parent: string|null, role: "user"|"assistant", text: string,
 *   created: number, state: "streaming"|"done"|"stopped"|"error", finish?: string|null, stats?:
 *   Stats|null, problem?: import("./problem.js").Problem|null}} Message
 */

const NAME = "jird-chats";

/**
 * Step i brings a database of version i to version i + 1. Steps are only ever added: a person's
 * chats pass through all those that their browser has not seen.
 * @type {((db: IDBDatabase, tx: IDBTransaction) => void)[]}
 */
export const MIGRATIONS = [
  (db) => {
    db.createObjectStore("chats", { keyPath: "id" });
    db.createObjectStore("messages", { keyPath: "id" }).createIndex("chat", "chat");
    db.createObjectStore("drafts", { keyPath: "chat" });
  },
];

/** @template T @param {IDBRequest<T>} request @returns {Promise<T>} */
function settled(request) {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

/** @param {IDBTransaction} tx @returns {Promise<void>} resolves when it is on disk */
function committed(tx) {
  return new Promise((resolve, reject) => {
    tx.oncomplete = () => resolve();
    tx.onabort = tx.onerror = () => reject(tx.error);
  });
}

/**
 * @param {string} [name]
 * @param {typeof MIGRATIONS} [migrations] its length is the version
 * @returns {Promise<IDBDatabase>}
 */
export function openDatabase(name = NAME, migrations = MIGRATIONS) {
  const request = indexedDB.open(name, migrations.length);
  request.onupgradeneeded = (event) => {
    for (const step of migrations.slice(event.oldVersion)) {
      step(request.result, /** @type {IDBTransaction} */ (request.transaction));
    }
  };
  return settled(request);
}

/**
 * @returns {Promise<ChatStore|MemoryStore>} a store in memory where the browser keeps no data
 *   (private windows); `persistent` says which
 */
export async function openChatStore() {
  try {
    const db = await openDatabase();
    db.onversionchange = () => db.close(); // a newer page in another tab must be able to migrate
    return new ChatStore(db);
  } catch {
    return new MemoryStore();
  }
}

export class ChatStore {
  persistent = true;

  /** @param {IDBDatabase} db */
  constructor(db) {
    this.db = db;
  }

  /** @returns {Promise<Chat[]>} newest first */
  async listChats() {
    const chats = await settled(this.db.transaction("chats").objectStore("chats").getAll());
    return chats.sort((a, b) => b.updated - a.updated);
  }

  /** @param {string} id @returns {Promise<Message[]>} all messages of a chat, oldest first */
  async listMessages(id) {
    const index = this.db.transaction("messages").objectStore("messages").index("chat");
    return (await settled(index.getAll(id))).sort((a, b) => a.created - b.created);
  }

  /**
   * Save a chat and some of its messages in one transaction.
   * @param {Chat} chat
   * @param {Message[]} [messages]
   */
  async save(chat, messages = []) {
    const tx = this.db.transaction(["chats", "messages"], "readwrite");
    tx.objectStore("chats").put({ ...chat });
    for (const message of messages) tx.objectStore("messages").put({ ...message });
    await committed(tx);
  }

  /**
   * @param {string} id
   * @returns {Promise<{chat: Chat, messages: Message[]}>} what `save` needs to undo it
   */
  async deleteChat(id) {
    const messages = await this.listMessages(id);
    const tx = this.db.transaction(["chats", "messages", "drafts"], "readwrite");
    const chat = await settled(tx.objectStore("chats").get(id));
    tx.objectStore("chats").delete(id);
    tx.objectStore("drafts").delete(id);
    for (const message of messages) tx.objectStore("messages").delete(message.id);
    await committed(tx);
    return { chat, messages };
  }

  /** @param {string} id */
  async deleteMessage(id) {
    const tx = this.db.transaction("messages", "readwrite");
    tx.objectStore("messages").delete(id);
    await committed(tx);
  }

  /**
   * @param {string} chat chat id, or "new" for the chat that does not exist yet
   * @returns {Promise<string>}
   */
  async getDraft(chat) {
    return (
      (await settled(this.db.transaction("drafts").objectStore("drafts").get(chat)))?.text ?? ""
    );
  }

  /** @param {string} chat @param {string} text */
  async setDraft(chat, text) {
    const tx = this.db.transaction("drafts", "readwrite");
    if (text) tx.objectStore("drafts").put({ chat, text });
    else tx.objectStore("drafts").delete(chat);
    await committed(tx);
  }
}

/** The same, for a browser that keeps nothing. */
export class MemoryStore {
  persistent = false;
  #chats = new Map();
  #messages = new Map();
  #drafts = new Map();

  async listChats() {
    return [...this.#chats.values()].sort((a, b) => b.updated - a.updated);
  }

  async listMessages(id) {
    return [...this.#messages.values()]
      .filter((m) => m.chat === id)
      .sort((a, b) => a.created - b.created);
  }

  async save(chat, messages = []) {
    this.#chats.set(chat.id, { ...chat });
    for (const message of messages) this.#messages.set(message.id, { ...message });
  }

  async deleteChat(id) {
    const removed = { chat: this.#chats.get(id), messages: await this.listMessages(id) };
    this.#chats.delete(id);
    this.#drafts.delete(id);
    for (const message of removed.messages) this.#messages.delete(message.id);
    return removed;
  }

  async deleteMessage(id) {
    this.#messages.delete(id);
  }

  async getDraft(chat) {
    return this.#drafts.get(chat) ?? "";
  }

  async setDraft(chat, text) {
    if (text) this.#drafts.set(chat, text);
    else this.#drafts.delete(chat);
  }
}

/**
 * The messages from the first one to a leaf.
 * @param {Message[]} messages
 * @param {string|null} leaf
 * @returns {Message[]}
 */
export function pathTo(messages, leaf) {
  const byId = new Map(messages.map((message) => [message.id, message]));
  const path = [];
  for (let at = leaf && byId.get(leaf); at; at = at.parent && byId.get(at.parent)) path.unshift(at);
  return path;
}

/** @param {string} text the first message @returns {string} its first line, cut at a word */
export function titleOf(text) {
  const line = text
    .trim()
    .split("\n")[0]
    .replace(/[#*_`>]/g, "")
    .trim();
  const chars = [...line]; // by code point: a cut must not split an emoji
  if (chars.length <= 60) return line;
  return (
    chars
      .slice(0, 60)
      .join("")
      .replace(/\s+\S*$/, "") + "…"
  );
}
