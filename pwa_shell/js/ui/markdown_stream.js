/**
 * Streaming markdown: a text that only grows becomes DOM in which closed blocks are never touched
 * again and only the open one is rendered anew. Whatever the sizes of the steps, the final DOM
 * equals that of the whole text at once.
 */
import { closeHalfTyped, lexBlocks, renderToken } from "./markdown.js";

/** @typedef {import("./markdown.js").Block} Block */
/** @typedef {{start: number, raw: string, node: HTMLElement}} Closed */

export class MarkdownStream {
  /** @type {Closed[]} */
  #closed = [];
  #closedTo = 0;
  /** @type {import("./markdown.js").Links} definitions that can no longer change */
  #links = {};
  /** @type {{node: HTMLElement, code: Text|null, lang: string|undefined}[]} */
  #open = [];
  #text = "";

  /**
   * @param {HTMLElement} root empty element that receives one child per block
   * @param {(node: HTMLElement) => void} [onClosed] called once for each block that will not change
   *   any more
   */
  constructor(root, onClosed = () => {}) {
    this.root = root;
    this.onClosed = onClosed;
    /**
     * How many blocks the final check had to render again (0 but for late link definitions and the
     * like).
     */
    this.repaired = 0;
  }

  /** @param {string} whole the text so far; it starts with what was given before */
  update(whole) {
    this.#text = whole;
    // The "\n" of a last "\r" may be on the way.
    const text = normal(whole.endsWith("\r") ? whole.slice(0, -1) : whole);
    const tail = text.slice(this.#closedTo);
    const { blocks, defs } = lexBlocks(tail, this.#links);
    const keep = closedCount(tail, blocks);
    for (let i = 0; i < keep; i++) this.#close(blocks[i]);
    const open = blocks.slice(keep);
    if (open.length) this.#settle(open[0].start, defs);
    this.#renderOpen(open, text.slice(this.#closedTo));
  }

  /**
   * The text is complete: close what is open, and check all against one pass over the whole text.
   */
  finish() {
    const { blocks, defs } = lexBlocks(normal(this.#text));
    blocks.forEach((block, i) => {
      const old = this.#closed[i];
      const raw = block.token.raw.trimEnd();
      const same = old && old.start === block.start && old.raw === raw;
      const mayLink = defs.length > 0 && block.token.type !== "code" && raw.includes("[");
      if (same && (!mayLink || old.node.isEqualNode(blockNode(block)))) return;
      this.#replace(i, block);
    });
    for (const extra of this.#closed.splice(blocks.length)) extra.node.remove();
    for (const extra of this.#open.splice(0)) extra.node.remove();
  }

  /** Everything before `offset` of the open text is closed, link definitions included. */
  #settle(offset, defs) {
    for (const { token, start } of defs) {
      if (start < offset) this.#links[token.tag] ??= { href: token.href, title: token.title };
    }
    this.#closedTo += offset;
  }

  /** @param {Block} block its start is relative to the open text */
  #close(block) {
    const open = this.#open.shift();
    const node = blockNode(block);
    if (open) open.node.replaceWith(node);
    else this.root.append(node);
    this.#closed.push({
      start: this.#closedTo + block.start,
      raw: block.token.raw.trimEnd(),
      node,
    });
    this.onClosed(node);
  }

  /** @param {number} i @param {Block} block */
  #replace(i, block) {
    const node = blockNode(block);
    const old = this.#closed[i];
    if (old) this.repaired++;
    if (old) old.node.replaceWith(node);
    else this.root.insertBefore(node, this.#open[0]?.node ?? null);
    this.#closed[i] = { start: block.start, raw: block.token.raw.trimEnd(), node };
    this.onClosed(node);
  }

  /** @param {Block[]} blocks usually one, two while the next block's first line is not complete */
  #renderOpen(blocks, tail) {
    while (this.#open.length > blocks.length) this.#open.pop()?.node.remove();
    blocks.forEach((block, i) => {
      const { token } = block;
      const slot = this.#open[i] ?? this.#newSlot();
      this.#open[i] = slot;
      if (token.type === "code" && slot.code && slot.lang === token.lang)
        return growText(slot.code, `${token.text}\n`);
      const last = i === blocks.length - 1;
      const shown =
        last && token.type !== "code"
          ? this.#softened(tail.slice(block.start - blocks[0].start))
          : [token];
      slot.node.replaceChildren(...shown.map(renderToken));
      slot.lang = token.lang;
      const code = token.type === "code" ? slot.node.querySelector("code") : null;
      slot.code = code ? /** @type {Text} */ (code.firstChild) : null;
    });
  }

  /** @param {string} raw @returns {import("./markdown.js").Token[]} */
  #softened(raw) {
    return lexBlocks(closeHalfTyped(raw), this.#links).blocks.map((block) => block.token);
  }

  #newSlot() {
    const node = document.createElement("div");
    node.className = "block open";
    this.root.append(node);
    return { node, code: null, lang: undefined };
  }
}

/**
 * @param {string} text
 * @returns {string} with the line ends that the lexer makes of it, so that offsets agree
 */
function normal(text) {
  return text.includes("\r") ? text.replace(/\r\n?/g, "\n") : text;
}

/**
 * How many leading blocks can no longer change: those before the last block whose first line is
 * complete. A line that is still being typed may yet turn into a list item, a heading's underline
 * or a table row.
 * @param {string} text
 * @param {Block[]} blocks
 * @returns {number}
 */
function closedCount(text, blocks) {
  const last = blocks.length - 1;
  if (last < 0) return 0;
  const start = blocks[last].start;
  const complete = text.indexOf("\n", start) >= 0;
  return Math.max(0, complete ? last : last - 1);
}

/** @param {Block} block @returns {HTMLElement} */
function blockNode(block) {
  const node = document.createElement("div");
  node.className = "block";
  node.append(renderToken(block.token));
  return node;
}

/** @param {Text} node @param {string} text new content, usually the old one and a little more */
function growText(node, text) {
  const old = node.data.slice(0, -1); // without the final newline
  if (text.startsWith(old)) node.replaceData(old.length, 1, text.slice(old.length));
  else node.data = text;
}

/**
 * Render a complete text in one pass, one block per step so that a long one can be done in slices.
 * @param {string} text
 * @param {HTMLElement} root
 * @param {(node: HTMLElement) => void} [onBlock]
 * @returns {Generator<void>}
 */
export function* renderDocument(text, root, onBlock = () => {}) {
  for (const block of lexBlocks(text).blocks) {
    const node = blockNode(block);
    root.append(node);
    onBlock(node);
    yield;
  }
}
