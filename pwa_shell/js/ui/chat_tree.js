/**
 * The tree of a chat's messages. A message names its `parent`, so an edited question and a second
 * answer are siblings; the chat's `leaf` says which path is shown. Everything here is pure.
 */

/** @typedef {import("./chat_store.js").Message} Message */

/**
 * The messages from the first one to a leaf. A loop or a missing parent ends it.
 * @param {Message[]} messages
 * @param {string|null} leaf
 * @returns {Message[]}
 */
export function pathTo(messages, leaf) {
  const byId = new Map(messages.map((message) => [message.id, message]));
  const path = [];
  for (let at = leaf && byId.get(leaf); at; at = at.parent && byId.get(at.parent)) {
    byId.delete(at.id);
    path.push(at);
  }
  return path.reverse();
}

/**
 * @param {Message[]} messages
 * @param {Message} message
 * @returns {Message[]} those with the same parent and role, itself included, oldest first
 */
export function siblings(messages, message) {
  return messages
    .filter(({ parent, role }) => parent === message.parent && role === message.role)
    .sort((a, b) => a.created - b.created);
}

/** @param {Message[]} messages @returns {Map<string|null, Message[]>} children by parent's id */
function childrenOf(messages) {
  const children = new Map();
  for (const message of messages) {
    if (!children.has(message.parent)) children.set(message.parent, []);
    children.get(message.parent).push(message);
  }
  return children;
}

/**
 * @param {Message[]} messages
 * @param {string} id
 * @returns {Message[]} the message and all under it
 */
export function subtree(messages, id) {
  const children = childrenOf(messages);
  const found = messages.filter((message) => message.id === id);
  const seen = new Set(found);
  for (let i = 0; i < found.length; i++) {
    for (const child of children.get(found[i].id) ?? []) {
      if (!seen.has(child)) found.push(child);
      seen.add(child);
    }
  }
  return found;
}

/**
 * Where to go when a branch is chosen: to what was written last under it.
 * @param {Message[]} messages
 * @param {string} id
 * @returns {string}
 */
export function leafUnder(messages, id) {
  const parents = new Set(messages.map((message) => message.parent));
  const leaves = subtree(messages, id).filter((message) => !parents.has(message.id));
  return leaves.reduce((a, b) => (b.created > a.created ? b : a), leaves[0])?.id ?? id;
}

/** @param {string} text the first message @returns {string} its first line, cut at a word */
export function titleOf(text) {
  const line = text
    .trim()
    .slice(0, 2000)
    .split("\n")[0]
    .replace(/[#*_`>]/g, "")
    .trim();
  const chars = [...line]; // by code point: a cut must not split an emoji
  if (chars.length <= 60) return line;
  const cut = chars.slice(0, 60).join("");
  return `${cut.replace(/\s+\S*$/, "")}…`;
}
