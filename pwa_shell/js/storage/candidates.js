/**
 * Files that a person chose or dropped -> what `import` takes, after a look at their headers: a .gguf, or a folder with config.json
 * and safetensors. Nothing is read but headers, so the size does not matter.
 */
import { jirdError } from "../errors.js";
import { INDEX, shardsOf, TEXT_FILES, WEIGHTS } from "./hub.js";

const MAX_HEADER = 100e6; // the safetensors library's own limit
const WANTED = "a .gguf file, or the files of a folder with config.json and safetensors";

/**
 * `found` [{path, file: File}], paths as in the chosen folder. {id, name, files: [{name, file}]}; fails with E_BAD_REQUEST (no model
 * among them), E_BAD_FILE or E_CORRUPT_SHARD (a part is missing or cut).
 */
export async function chooseImport(found) {
  const rows = found.map(({ path, file }) => ({ folder: path.split("/").slice(0, -1).join("/"), name: path.split("/").at(-1), file }));
  const ggufs = rows.filter(({ name }) => /\.gguf$/i.test(name));
  const config = rows.filter(({ name }) => name === "config.json").sort((a, b) => a.folder.length - b.folder.length)[0];
  if (config) return fromFolder(rows.filter(({ folder }) => folder === config.folder), config.folder);
  if (ggufs.length === 1) return fromGguf(ggufs[0]);
  const names = ggufs.length ? ggufs : rows;
  const got = names.slice(0, 3).map(({ name }) => name).join(", ") || "nothing";
  throw jirdError("E_BAD_REQUEST", { param: "files", got, wanted: ggufs.length ? "one .gguf at a time" : WANTED });
}

async function fromGguf({ name, file }) {
  const head = new DataView(await bytes(file, 0, 24));
  const text = head.byteLength >= 4 ? String.fromCharCode(...new Uint8Array(head.buffer, 0, 4)) : "";
  const bad = (detail) => jirdError("E_BAD_FILE", { file: name, format: "GGUF", detail });
  if (text !== "GGUF") throw bad("it does not begin with GGUF");
  if (head.byteLength < 24) throw bad("it ends in its header");
  const version = head.getUint32(4, true);
  if (version !== 2 && version !== 3) throw bad(`version ${version} is not known, 2 and 3 are`);
  const title = name.replace(/\.gguf$/i, "");
  return { id: `local:${title}`, name: title, files: [{ name, file }] };
}

async function fromFolder(rows, folder) {
  const there = new Map(rows.map((row) => [row.name, row]));
  const weights = there.has(INDEX) ? [INDEX, ...shardsOf(await json(there.get(INDEX)))] : [WEIGHTS];
  const names = [...TEXT_FILES.filter((name) => there.has(name)), ...weights];
  const absent = names.find((name) => !there.has(name));
  if (absent) throw jirdError("E_BAD_REQUEST", { param: "files", got: `a folder without ${absent}`, wanted: WANTED });
  await json(there.get("config.json"));
  for (const name of weights.filter((name) => name !== INDEX)) await checkSafetensors(there.get(name));
  const title = folder.split("/").at(-1) || "model";
  return { id: `local:${title}`, name: title, files: names.map((name) => ({ name, file: there.get(name).file })) };
}

/** https://huggingface.co/docs/safetensors: u64 length of a JSON header, the header, then data up to the last offset. */
async function checkSafetensors({ name, file }) {
  const bad = (detail) => jirdError("E_BAD_FILE", { file: name, format: "safetensors", detail });
  const head = await bytes(file, 0, 8);
  if (head.byteLength < 8) throw bad("it is shorter than its header");
  const length = Number(new DataView(head).getBigUint64(0, true));
  if (length > MAX_HEADER || 8 + length > file.size) throw bad(`its header would be ${length} bytes long`);
  let header;
  try {
    header = JSON.parse(new TextDecoder().decode(await bytes(file, 8, 8 + length)));
  } catch (error) {
    if (error instanceof SyntaxError) throw bad("its header is not JSON");
    throw error;
  }
  const ends = Object.values(header).map((row) => row?.data_offsets?.[1] ?? 0);
  const size = 8 + length + Math.max(0, ...ends);
  if (size !== file.size) throw bad(`it should be ${size} bytes long and is ${file.size}`);
}

async function json({ name, file }) {
  const text = new TextDecoder().decode(await bytes(file, 0, file.size));
  try {
    return JSON.parse(text);
  } catch {
    throw jirdError("E_BAD_FILE", { file: name, format: "JSON", detail: "it cannot be parsed" });
  }
}

/** A file that was moved or changed since it was chosen cannot be read. */
async function bytes(file, start, end) {
  try {
    return await file.slice(start, end).arrayBuffer();
  } catch (error) {
    throw jirdError("E_BAD_REQUEST", { param: "file", got: `${file.name} (${error.name})`, wanted: "a file that can be read" });
  }
}
