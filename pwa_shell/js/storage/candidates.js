/**
 * Files that a person chose or dropped -> what `import` takes, after a look at their headers: a .gguf, or a folder with config.json
 * and safetensors. Nothing is read but headers, so the size does not matter.
 */
import { jirdError } from "../errors.js";
import { bytesAt, checkGguf } from "./gguf_header.js";
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
  await checkGguf(file, name);
  const title = name.replace(/\.gguf$/i, "");
  return { id: `local:${title}`, name: title, files: [{ name, file }] };
}

async function fromFolder(rows, folder) {
  const there = new Map(rows.map((row) => [row.name, row]));
  const index = there.has(INDEX) ? await json(there.get(INDEX)) : null;
  const weights = index ? [INDEX, ...shardsOf(index)] : [WEIGHTS];
  const names = [...TEXT_FILES.filter((name) => there.has(name)), ...weights];
  const absent = names.find((name) => !there.has(name));
  if (absent) throw jirdError("E_BAD_REQUEST", { param: "files", got: `a folder without ${absent}`, wanted: WANTED });
  await json(there.get("config.json"));
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
  let header;
  try {
    header = JSON.parse(new TextDecoder().decode(await bytesAt(file, 8, 8 + length)));
  } catch (error) {
    if (error instanceof SyntaxError) throw bad("its header is not JSON");
    throw error;
  }
  const rows = Object.entries(header).filter(([key]) => key !== "__metadata__");
  const placed = rows.map(([key, row]) => [key, row, ...(row?.data_offsets ?? [])]).sort((a, b) => a[2] - b[2] || a[3] - b[3]);
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

async function json({ name, file }) {
  const text = new TextDecoder().decode(await bytesAt(file, 0, file.size));
  try {
    return JSON.parse(text);
  } catch {
    throw jirdError("E_BAD_FILE", { file: name, format: "JSON", detail: "it cannot be parsed" });
  }
}
