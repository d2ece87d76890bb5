/**
 * Files that a person chose or dropped -> what `import` takes, after a look at their headers: a .gguf, or a folder with config.json
 * and safetensors. Nothing is read but headers and JSON files, so the size does not matter.
 */
import { jirdError } from "../errors.js";
import { bytesAt, checkGguf } from "./gguf_header.js";
import { INDEX, shardsOf, TEXT_FILES, WEIGHTS } from "./hub.js";

const MAX_HEADER = 100e6; // the safetensors library's own limit
const WANTED = "a .gguf file, or the files of a folder with config.json and safetensors";

/**
 * `found` [{path, file: File}], paths as in the chosen folder. {id, name, files: [{name, file}]}; fails with E_BAD_REQUEST (none, or
 * several models), E_BAD_FILE or E_TRUNCATED (no model, or a part of it is missing, wrong or cut).
 */
export async function chooseImport(found) {
  const rows = found.map(({ path, file }) => ({ folder: path.split("/").slice(0, -1).join("/"), name: path.split("/").at(-1), file }));
  const ggufs = rows.filter(({ name }) => /\.gguf$/i.test(name));
  const config = rows.filter(({ name }) => name === "config.json").sort((a, b) => a.folder.length - b.folder.length)[0];
  if (config) return fromFolder(rows.filter(({ folder }) => folder === config.folder), config.folder);
  if (ggufs.length === 1) return fromGguf(ggufs[0]);
  const got = (ggufs.length ? ggufs : rows).slice(0, 3).map(({ name }) => name).join(", ");
  if (ggufs.length || !got)
    throw jirdError("E_BAD_REQUEST", { param: "files", got: got || "nothing", wanted: got ? "one .gguf at a time" : WANTED });
  throw jirdError("E_BAD_FILE", { file: got, format: "model", detail: `wanted is ${WANTED}` });
}

async function fromGguf({ name, file }) {
  await checkGguf(file, name);
  const title = name.replace(/\.gguf$/i, "");
  return { id: `local:${title}`, name: title, files: [{ name, file }] };
}

async function fromFolder(rows, folder) {
  const there = new Map(rows.map((row) => [row.name, row]));
  const index = there.has(INDEX) ? await jsonFile(there.get(INDEX)) : null;
  const weights = index ? [INDEX, ...shardsOf(index)] : [WEIGHTS];
  const names = [...TEXT_FILES.filter((name) => there.has(name)), ...weights];
  const absent = names.find((name) => !there.has(name));
  if (absent) throw badFile(absent, "it is not in the folder");
  for (const name of names.filter((name) => name.endsWith(".json") && name !== INDEX)) await jsonFile(there.get(name));
  for (const shard of weights.filter((name) => name !== INDEX)) {
    const tensors = await checkSafetensors(there.get(shard));
    const lost = Object.entries(index?.weight_map ?? {}).find(([name, file]) => file === shard && !tensors.has(name));
    if (lost) throw badFile(shard, `it lacks ${lost[0]}, which ${INDEX} names`);
  }
  const title = folder.split("/").at(-1) || "model";
  return { id: `local:${title}`, name: title, files: names.map((name) => ({ name, file: there.get(name).file })) };
}

/** https://huggingface.co/docs/safetensors: u64 length of a JSON header, the header, then the tensors without a gap. -> their names. */
async function checkSafetensors({ name, file }) {
  const bad = (detail) => badFile(name, detail);
  const head = await bytesAt(file, 0, 8);
  if (head.byteLength < 8) throw bad("it is shorter than its header");
  const length = Number(new DataView(head).getBigUint64(0, true));
  if (length > MAX_HEADER || 8 + length > file.size) throw bad(`its header would be ${length} bytes long`);
  const header = parsed(await bytesAt(file, 8, 8 + length), (why) => bad(`its header ${why}`));
  const rows = Object.entries(header).filter(([key]) => key !== "__metadata__");
  const placed = rows.map(([key, row]) => [key, row, ...(Array.isArray(row?.data_offsets) ? row.data_offsets : [])]).sort((a, b) => a[2] - b[2] || a[3] - b[3]);
  let end = 0;
  for (const [key, row, from, to] of placed) {
    const wanted = bytesOf(row);
    const right = from === end && to >= from && (wanted === null || to - from === wanted);
    if (!right) throw bad(`${key.slice(0, 80)} lies at ${from} to ${to}`);
    end = to;
  }
  const size = 8 + length + end;
  if (size !== file.size) throw bad(`it should be ${size} bytes long and is ${file.size}`);
  return new Set(rows.map(([key]) => key));
}

/** Bytes of a tensor; null of types that the engine refuses by name. */
function bytesOf({ dtype, shape } = {}) {
  const bytes = { F32: 4, F16: 2, BF16: 2, I64: 8, I32: 4, I8: 1, U8: 1, U32: 4, BOOL: 1 }[dtype];
  return bytes && Array.isArray(shape) ? shape.reduce((count, dim) => count * dim, bytes) : null;
}

const badFile = (file, detail) => jirdError("E_BAD_FILE", { file, format: "safetensors", detail });

async function jsonFile({ name, file }) {
  const bytes = await bytesAt(file, 0, file.size);
  return parsed(bytes, (why) => jirdError("E_BAD_FILE", { file: name, format: "JSON", detail: `it ${why}` }));
}

/** The object that JSON bytes hold; `bad` makes an error of what is wrong. */
function parsed(bytes, bad) {
  let value;
  try {
    value = JSON.parse(new TextDecoder().decode(bytes));
  } catch {
    throw bad("cannot be parsed");
  }
  if (value === null || typeof value !== "object" || Array.isArray(value)) throw bad("is not an object");
  return value;
}
