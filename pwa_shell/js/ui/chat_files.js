/**
 * Chats as files. JSONL holds everything: a first line {format, version, exported}, then one line
 * per chat and, after it, one per message. Markdown is for reading: the path that is shown.
 */
import { jirdError } from "../errors.js";
import { leafUnder, pathTo } from "./chat_tree.js";
import { newId } from "./dom.js";
import { splitThought } from "./reasoning.js";
import { cleanSettings } from "./settings_registry.js";
import { t } from "./strings.js";

/** @typedef {{chat: import("./chat_store.js").Chat, messages: any[]}} Part */

const FORMAT = "jird-chats";
const VERSION = 1;
const ROLES = ["user", "assistant"];
const STATES = ["done", "stopped", "error"];

/** @param {Part[]} parts @returns {string[]} lines with their ends */
export function toJsonl(parts) {
  const lines = [{ format: FORMAT, version: VERSION, exported: new Date().toISOString() }];
  for (const { chat, messages } of parts) {
    lines.push({ type: "chat", ...chat });
    for (const message of messages) lines.push({ type: "message", ...message });
  }
  return lines.map((line) => `${JSON.stringify(line)}\n`);
}

/** @param {Part} part @returns {string} */
export function toMarkdown({ chat, messages }) {
  const blocks = [`# ${chat.title}`];
  for (const { role, text, files = [] } of pathTo(messages, chat.leaf)) {
    blocks.push(`## ${t(role === "user" ? "exportYou" : "exportModel")}`);
    for (const file of files) blocks.push(`*${t("exportFile", { name: file.name })}*`);
    const { thought, answer } = role === "user" ? { answer: text } : splitThought(text);
    if (thought) blocks.push(thought.replace(/^/gm, "> "));
    if (answer) blocks.push(answer.trim());
  }
  return `${blocks.join("\n\n")}\n`;
}

/** @param {string} title @param {string} end @returns {string} a file name every system takes */
export function fileName(title, end) {
  const safe = title.replace(/[^\p{L}\p{N} ._-]+/gu, " ").replace(/\s+/g, " ").trim();
  return `${[...safe].slice(0, 60).join("").replace(/^\.+|[. ]+$/g, "") || "chat"}.${end}`;
}

class Reader {
  /** @param {string} file its name, for errors */
  constructor(file) {
    this.file = file;
    this.parts = new Map();
  }

  refuse(detail) {
    throw jirdError("E_BAD_FILE", { file: this.file, format: "chat export", detail });
  }

  /** @param {string} text @param {number} number from 1 */
  line(text, number) {
    let row;
    try {
      row = JSON.parse(text);
    } catch {
      this.refuse(`line ${number} is not JSON`);
    }
    if (number === 1) return this.#head(row);
    if (row?.type === "chat") this.#chat(row, number);
    else if (row?.type === "message") this.#message(row, number);
    else this.refuse(`line ${number} is neither a chat nor a message`);
  }

  #head(row) {
    if (row?.format !== FORMAT) this.refuse(`its first line does not say ${FORMAT}`);
    if (Number.isInteger(row.version) && row.version > VERSION) {
      this.refuse(`it is of version ${row.version}, this app reads version ${VERSION}`);
    }
    if (row.version !== VERSION) this.refuse(`its version is ${JSON.stringify(row.version)}`);
  }

  #field(row, name, fits, number) {
    if (!fits(row[name])) this.refuse(`line ${number} has no valid ${name}`);
    return row[name];
  }

  #text = (value) => typeof value === "string";
  #id = (value) => typeof value === "string" && /^[\w-]{1,64}$/.test(value);
  #time = (value) => Number.isFinite(value) && value >= 0;

  #chat(row, number) {
    const id = this.#field(row, "id", this.#id, number);
    if (this.parts.has(id)) this.refuse(`line ${number} repeats a chat`);
    const title = this.#field(row, "title", this.#text, number).slice(0, 200);
    const created = this.#field(row, "created", this.#time, number);
    const updated = this.#field(row, "updated", this.#time, number);
    const settings = cleanSettings(row.settings);
    const chat = { id, title, created, updated, leaf: row.leaf ?? null, settings };
    this.parts.set(id, { chat, messages: [], ids: new Map() });
  }

  #message(row, number) {
    const part = this.parts.get(this.#field(row, "chat", this.#id, number));
    if (!part) this.refuse(`line ${number} belongs to no chat before it`);
    const old = this.#field(row, "id", this.#id, number);
    if (part.ids.has(old)) this.refuse(`line ${number} repeats a message`);
    const role = this.#field(row, "role", (value) => ROLES.includes(value), number);
    const message = {
      id: newId(), // one of another chat may have the same
      chat: part.chat.id,
      parent: row.parent ?? null,
      role,
      text: this.#field(row, "text", this.#text, number),
      created: this.#field(row, "created", this.#time, number),
      state: STATES.includes(row.state) ? row.state : "stopped",
      finish: this.#text(row.finish) ? row.finish : null,
      stats: numbers(row.stats),
      problem: problem(row.problem),
    };
    const files = (Array.isArray(row.files) ? row.files : []).filter(
      (file) => this.#text(file?.name) && this.#text(file.text),
    );
    if (files.length) {
      message.files = files.map(({ name, text, bytes }) => ({
        name: name.slice(0, 200),
        text,
        bytes: this.#time(bytes) ? bytes : text.length,
      }));
    }
    part.ids.set(old, message.id);
    part.messages.push(message);
  }

  /** @returns {Part[]} with the links between messages made */
  finish() {
    if (!this.parts.size) this.refuse("there is no chat in it");
    for (const { chat, messages, ids } of this.parts.values()) {
      for (const message of messages) {
        if (message.parent === null) continue;
        if (!ids.has(message.parent)) this.refuse(`a message of "${chat.title}" answers none`);
        message.parent = ids.get(message.parent);
      }
      if (messages.length && !messages.some(({ parent }) => parent === null)) {
        this.refuse(`the messages of "${chat.title}" have no beginning`);
      }
      chat.leaf = ids.get(chat.leaf) ?? (messages.length ? lastLeaf(messages) : null);
    }
    return [...this.parts.values()].map(({ chat, messages }) => ({ chat, messages }));
  }
}

function lastLeaf(messages) {
  const first = messages.find(({ parent }) => parent === null);
  return leafUnder(messages, first.id);
}

function numbers(stats) {
  const kept = Object.entries(stats ?? {}).filter(
    ([name, value]) => /^[a-z_]{1,20}$/.test(name) && Number.isFinite(value),
  );
  return kept.length ? Object.fromEntries(kept) : null;
}

function problem(given) {
  const { code, message, nextStep } = given ?? {};
  const texts = [code, message, nextStep];
  return texts.every((text) => typeof text === "string") ? { code, message, nextStep } : null;
}

/**
 * Read an export. Throws E_BAD_FILE, before anything is kept, when a part of it is wrong or a later
 * version wrote it.
 * @param {string} text
 * @param {string} file its name
 * @returns {Part[]}
 */
export function fromJsonl(text, file) {
  const reader = new Reader(file);
  let number = 0;
  for (const line of text.split(/\r?\n/)) {
    number++;
    if (line.trim() || number === 1) reader.line(line, number);
  }
  return reader.finish();
}
