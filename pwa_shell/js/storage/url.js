/**
 * Models at any address: a .gguf, or a folder (it ends in "/") with config.json, tokenizer and safetensors -> the spec of its files
 * (library.js). Sizes come from ranged requests of a few bytes, so nothing is downloaded to look.
 */
import { jirdError } from "../errors.js";
import { networkError } from "./errors.js";
import { badModel, INDEX, isHub, resolveHub, shardsOf, TEXT_FILES, WEIGHTS } from "./hub.js";

const MAGIC = "GGUF";

export const isAddress = (text) => /^https?:\/\//i.test(text) && URL.canParse(text);

/** The spec of whatever a person named: a hub's repository, or any address. `options`: of resolveHub. */
export async function resolveModel(text, options = {}) {
  if (isHub(text, options.base)) return resolveHub(text, options);
  if (!isAddress(text)) throw badModel(text);
  return resolveUrl(text, options);
}

/** The spec of the model at address `text`. Fails with E_NETWORK, E_BAD_FILE, E_BAD_REQUEST. */
async function resolveUrl(text, { signal, fetch = globalThis.fetch.bind(globalThis) } = {}) {
  const url = new URL(text);
  url.hash = "";
  const look = (address) => probe(address, { signal, fetch });
  const name = decodeURIComponent(url.pathname.replace(/\/$/, "").split("/").at(-1)) || url.host;
  const spec = { id: url.href, name, license: null, source: { kind: "url", url: url.href, revision: null } };
  if (url.pathname.endsWith("/")) return { ...spec, files: await folder(url, look, { signal, fetch }) };
  if (!/\.gguf$/i.test(url.pathname)) {
    const wanted = "the address of a .gguf file, or of a folder, ending in /";
    throw jirdError("E_BAD_REQUEST", { param: "model", got: `'${text}'`, wanted });
  }
  const found = await look(url.href);
  if (!found) throw networkError(url.href, "the server answered 404", 404);
  if (found.head !== MAGIC) {
    throw jirdError("E_BAD_FILE", { file: name, format: "GGUF", detail: `it begins with '${printable(found.head)}'` });
  }
  return { ...spec, files: [{ name, url: url.href, size: found.size, sha256: null }] };
}

async function folder(url, look, { signal, fetch }) {
  const rows = [];
  const add = async (name) => {
    const address = new URL(encodeURIComponent(name), url).href, found = await look(address);
    if (found) rows.push({ name, url: address, size: found.size, sha256: null });
    return found;
  };
  if (!(await add(TEXT_FILES[0]))) throw networkError(new URL(TEXT_FILES[0], url).href, "it is not there", 404);
  for (const name of TEXT_FILES.slice(1)) await add(name);
  const shards = [WEIGHTS];
  if (await add(INDEX)) {
    const index = await fetch(rows.at(-1).url, { signal, cache: "no-store" }).then((response) => response.json(), () => null);
    shards.splice(0, 1, ...shardsOf(index));
  }
  for (const name of shards) {
    if (!(await add(name))) throw networkError(new URL(name, url).href, "it is not there", 404);
  }
  return rows;
}

/** {size, head: first four bytes as text} of what lies there, null for 404; size null where the server does not say. */
async function probe(url, { signal, fetch }) {
  const ending = new AbortController();
  const both = signal ? AbortSignal.any([signal, ending.signal]) : ending.signal;
  let response;
  try {
    response = await fetch(url, { headers: { Range: `bytes=0-${MAGIC.length - 1}` }, signal: both, cache: "no-store" });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw networkError(url, `${error.message}; the other site may forbid pages to read it`);
  }
  try {
    if (response.status === 404) return null;
    if (response.status === 416) return { size: 0, head: "" };
    if (!response.ok) throw networkError(url, `the server answered ${response.status}`, response.status);
    const total = /\/(\d+)$/.exec(response.headers.get("Content-Range") ?? "")?.[1];
    const whole = response.status === 200 ? response.headers.get("Content-Length") : null;
    const size = total ?? whole;
    return { size: size === null || size === undefined ? null : Number(size), head: await begin(response) };
  } finally {
    ending.abort(); // a server that ignores the range would send all of it
  }
}

async function begin(response) {
  const reader = response.body.getReader();
  let text = "";
  while (text.length < MAGIC.length) {
    const { value, done } = await reader.read();
    if (done) break;
    text += String.fromCharCode(...value.subarray(0, MAGIC.length));
  }
  return text.slice(0, MAGIC.length);
}

const printable = (text) => text.replace(/[^ -~]/g, "?");
