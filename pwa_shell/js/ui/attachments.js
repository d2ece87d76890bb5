/**
 * Text files beside a message. A model here reads text only, so anything else is refused with the
 * reason.
 * @typedef {import("./chat_store.js").TextFile} TextFile
 */
import { formatBytes } from "./format.js";
import { t } from "./strings.js";

const MAX_BYTES = 4e6;
/** A paste of more characters becomes a file, so that the box stays quick. */
export const LONG_PASTE = 6000;

const KINDS = [
  [/^image\//, "kindImage"],
  [/^audio\//, "kindAudio"],
  [/^video\//, "kindVideo"],
  [/pdf$/, "kindPdf"],
  [/zip|compressed|x-tar|officedocument|msword|ms-excel/, "kindArchive"],
];

/** @param {Uint8Array} bytes @returns {string|null} null where it is not text */
function decode(bytes) {
  const [a, b] = bytes;
  const wide = (a === 0xff && b === 0xfe && "utf-16le") || (a === 0xfe && b === 0xff && "utf-16be");
  try {
    const text = new TextDecoder(wide || "utf-8", { fatal: true }).decode(bytes);
    return text.includes("\0") ? null : text;
  } catch {
    return null;
  }
}

/**
 * @param {File} file
 * @returns {Promise<{file?: TextFile, refused?: string}>} `refused`: the reason, for a person
 */
export async function readTextFile(file) {
  const { name } = file;
  const kind = KINDS.find(([pattern]) => pattern.test(file.type))?.[1];
  if (kind) return { refused: t("refusedKind", { name, kind: t(kind) }) };
  if (file.size > MAX_BYTES) {
    const facts = { name, size: formatBytes(file.size), most: formatBytes(MAX_BYTES) };
    return { refused: t("refusedSize", facts) };
  }
  if (!file.size) return { refused: t("refusedEmpty", { name }) };
  const text = decode(new Uint8Array(await file.arrayBuffer()));
  if (text === null) return { refused: t("refusedBinary", { name }) };
  return { file: { name, text, bytes: file.size } };
}

/** @param {string} text @param {TextFile[]} others @returns {TextFile} */
export function pastedFile(text, others) {
  const names = new Set(others.map(({ name }) => name));
  let name = "pasted.txt";
  for (let i = 2; names.has(name); i++) name = `pasted-${i}.txt`;
  return { name, text, bytes: new Blob([text]).size };
}

/**
 * What the model reads of a message: its files as named blocks, then its text.
 * @param {{text: string, files?: TextFile[]}} message
 * @returns {string}
 */
export function contentOf({ text, files = [] }) {
  const blocks = files.map((file) => {
    const longest = Math.max(2, ...[...file.text.matchAll(/`{3,}/g)].map((m) => m[0].length));
    const fence = "`".repeat(longest + 1);
    return `File: ${file.name}\n${fence}\n${file.text.replace(/\n$/, "")}\n${fence}`;
  });
  return [...blocks, text].filter(Boolean).join("\n\n");
}
