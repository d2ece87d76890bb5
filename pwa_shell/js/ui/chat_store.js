/**
 * Chats in IndexedDB. Messages form a tree (chat_tree.js), and a chat points at the leaf that is
 * shown. What one tab writes the others hear of.
 * @typedef {{id: string, title: string, created: number, updated: number, leaf: string|null,
 *   settings?: Record<string, any>}} Chat
 * @typedef {{tokens: number|null, ttft_ms: number|null, tps: number|null, prefill_tps?:
 *   number|null, prompt_tokens?: number|null, think_ms?: number|null}} Stats
 * @typedef {{name: string, text: string, bytes: number}} TextFile
 * @typedef {{id: string, chat: string, parent: string|null, role: "user"|"assistant", text: string,
 *   created: number, state: "streaming"|"done"|"stopped"|"error", finish?: string|null, stats?:
 *   Stats|null, problem?: import("./problem.js").Problem|null, files?: TextFile[]}} Message
 */
import { Emitter } from "./dom.js";
import { MemoryStore } from "./memory_store.js";

const NAME = "jird-chats";
const BATCH = 400;

/** Change every record of a store. @param {IDBObjectStore} store @param {(row: any) => any} fn */
function rewrite(store, fn) {
  store.openCursor().onsuccess = ({ target }) => {
    if (!target.result) return;
    target.result.update(fn(target.result.value));
    target.result.continue();
  };
}

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
  // Settings per chat; files beside a draft's text.
  (_, tx) => {
    rewrite(tx.objectStore("chats"), (chat) => ({ settings: {}, ...chat }));
    rewrite(tx.objectStore("drafts"), (draft) => ({ files: [], ...draft }));
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
  // A page may be put away with its transaction open, and would then keep other pages waiting.
  tx.commit();
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
 *   (private windows) or a later version of the app wrote it; `persistent` and `newer` say so
 */
export async function openChatStore() {
  try {
    const db = await openDatabase();
    db.onversionchange = () => db.close(); // a newer page in another tab must be able to migrate
    return new ChatStore(db);
  } catch (error) {
    return new MemoryStore(error?.name === "VersionError");
  }
}

/**
 * Emits `change` ({chat: id, gone: boolean}) for what another tab wrote, and `stop` (message id) when
 * another tab wants to write an answer on.
 */
export class ChatStore extends Emitter {
  persistent = true;
  newer = false;
  #channel = globalThis.BroadcastChannel ? new BroadcastChannel(NAME) : null;

  /** @param {IDBDatabase} db */
  constructor(db) {
    super();
    this.db = db;
    if (!this.#channel) return;
    this.#channel.onmessage = ({ data }) =>
      data.stop ? this.emit("stop", data.stop) : this.emit("change", data);
  }

  /** Ask the tab that writes an answer to stop. @param {string} id message */
  askToStop(id) {
    this.#channel?.postMessage({ stop: id });
  }

  #tell(chat, gone = false) {
    this.#channel?.postMessage({ chat, gone });
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

  /** All messages, some hundreds at a time. @returns {AsyncGenerator<Message[]>} */
  async *everyMessage() {
    for (let range = null; ; ) {
      const store = this.db.transaction("messages").objectStore("messages");
      const rows = await settled(store.getAll(range, BATCH));
      if (rows.length) yield rows;
      if (rows.length < BATCH) return;
      range = IDBKeyRange.lowerBound(rows.at(-1).id, true);
    }
  }

  /**
   * Save a chat and some of its messages in one transaction.
   * @param {Chat} chat
   * @param {Message[]} [messages]
   */
  async save(chat, messages = []) {
    await this.saveAll([{ chat, messages }]);
  }

  /** Many chats, all or none. @param {{chat: Chat, messages: Message[]}[]} parts */
  async saveAll(parts) {
    const tx = this.db.transaction(["chats", "messages"], "readwrite");
    const stores = [tx.objectStore("chats"), tx.objectStore("messages")];
    for (const { chat, messages } of parts) {
      stores[0].put({ ...chat });
      for (const message of messages) stores[1].put({ ...message });
    }
    await committed(tx);
    for (const { chat } of parts.slice(0, 1)) this.#tell(chat.id);
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
    this.#tell(id, true);
    return { chat, messages };
  }

  /** @param {Chat} chat as it is without them @param {string[]} ids */
  async deleteMessages(chat, ids) {
    const tx = this.db.transaction(["chats", "messages"], "readwrite");
    tx.objectStore("chats").put({ ...chat });
    for (const id of ids) tx.objectStore("messages").delete(id);
    await committed(tx);
    this.#tell(chat.id);
  }

  /**
   * @param {string} chat chat id, or "new" for the chat that does not exist yet
   * @returns {Promise<{text: string, files: TextFile[]}>}
   */
  async getDraft(chat) {
    const row = await settled(this.db.transaction("drafts").objectStore("drafts").get(chat));
    return { text: row?.text ?? "", files: row?.files ?? [] };
  }

  /** @param {string} chat @param {string} text @param {TextFile[]} [files] */
  async setDraft(chat, text, files = []) {
    const tx = this.db.transaction("drafts", "readwrite");
    if (text || files.length) tx.objectStore("drafts").put({ chat, text, files });
    else tx.objectStore("drafts").delete(chat);
    await committed(tx);
  }

  /** At once, so that of two files none is lost. @param {string} chat @param {TextFile} file */
  async addToDraft(chat, file) {
    const tx = this.db.transaction("drafts", "readwrite"), drafts = tx.objectStore("drafts");
    const { text = "", files = [] } = (await settled(drafts.get(chat))) ?? {};
    drafts.put({ chat, text, files: [...files, file] });
    await committed(tx);
  }
}
