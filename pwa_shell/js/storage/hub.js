/**
 * Models of the Hugging Face hub: a repository's name or address -> the spec of its files (library.js), with sizes and, for large
 * files, the published SHA-256. The revision is pinned to its commit, so that a download never mixes two of them.
 */
import { jirdError } from "../errors.js";
import { corrupt, networkError } from "./errors.js";

export const HUB = "https://huggingface.co";
export const TEXT_FILES = ["config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja",
  "special_tokens_map.json", "vocab.json", "merges.txt"];
const NEEDED = ["config.json"];
export const WEIGHTS = "model.safetensors";
export const INDEX = "model.safetensors.index.json";
const NAME = /^[\w.-]+\/[\w.-]+$/;

/** {repo, revision, file} of "org/name", with "@revision" or ":file.gguf" after it, or an address at the hub. */
export function parseHub(text, base = HUB) {
  const wanted = "org/name, org/name@revision, org/name:file.gguf, or an address";
  const bad = () => jirdError("E_BAD_REQUEST", { param: "model", got: `'${text}'`, wanted });
  if (!/^https?:/i.test(text)) {
    const [, name, , file = null] = /^([^:]*)(:(.+))?$/.exec(text.trim()) ?? [];
    const [repo, revision = "main"] = (name ?? "").split("@");
    if (!NAME.test(repo) || !revision || (file && !file.endsWith(".gguf"))) throw bad();
    return { repo, revision, file };
  }
  const url = URL.canParse(text) ? new URL(text) : null;
  if (url?.origin !== new URL(base).origin) throw bad();
  const parts = url.pathname.split("/").filter(Boolean).map(decodeURIComponent);
  const repo = parts.slice(0, 2).join("/");
  if (!NAME.test(repo) || (parts.length > 2 && !["tree", "resolve", "blob"].includes(parts[2]))) throw bad();
  return { repo, revision: parts[3] ?? "main", file: parts[2] === "tree" ? null : parts.slice(4).join("/") || null };
}

/**
 * The spec of model `text`. `file` names a .gguf where the repository has several. `token` {value, origin} is for the hub only.
 * Fails with E_NETWORK {status}, E_BAD_REQUEST (which file?), E_CORRUPT_SHARD (an index that names what is not there).
 */
export async function resolveHub(text, options = {}) {
  const { revision, file, token = null, base = HUB, signal, fetch = globalThis.fetch.bind(globalThis) } = options;
  const asked = parseHub(text, base);
  const hub = new Hub({ base, token, signal, fetch });
  const info = await hub.json(`api/models/${asked.repo}/revision/${encodeURIComponent(revision ?? asked.revision)}?blobs=true`);
  const there = new Map((info.siblings ?? []).map((row) => [row.rfilename, row]));
  const commit = info.sha ?? revision ?? asked.revision;
  const path = (name) => name.split("/").map(encodeURIComponent).join("/");
  const address = (name) => hub.url(`${asked.repo}/resolve/${encodeURIComponent(commit)}/${path(name)}`);
  const names = await choose(asked.repo, file || asked.file, there, (name) => hub.json(address(name)));
  const single = names.length === 1 ? names[0] : null;
  return {
    id: single ? `${asked.repo}:${single}` : asked.repo,
    name: single ? `${asked.repo} (${single})` : asked.repo,
    license: info.cardData?.license ?? null,
    source: { kind: "hub", url: hub.url(asked.repo), revision: commit },
    files: names.map((name) => {
      const row = there.get(name);
      return { name, url: address(name), size: row.lfs?.size ?? row.size ?? null, sha256: row.lfs?.sha256 ?? null };
    }),
  };
}

/** Which files make the model: the named .gguf, the only one, or the texts with the weights. */
async function choose(repo, file, there, readJson) {
  const ggufs = [...there.keys()].filter((name) => name.endsWith(".gguf"));
  const whole = there.has(WEIGHTS) || there.has(INDEX);
  if (file?.endsWith(".gguf") || (!file && !whole && ggufs.length === 1)) {
    const name = file ?? ggufs[0];
    const wanted = ggufs.join(", ") || "a file of the repository";
    if (!there.has(name)) throw jirdError("E_BAD_REQUEST", { param: "file", got: name, wanted });
    return [name];
  }
  if (!whole) {
    const wanted = ggufs.length ? `one of ${ggufs.join(", ")}` : "a repository with safetensors or GGUF weights";
    const choices = ggufs.map((name) => ({ name, bytes: there.get(name).lfs?.size ?? there.get(name).size ?? null }));
    throw jirdError("E_BAD_REQUEST", { param: "file", got: ggufs.length ? "not given" : repo, wanted, choices });
  }
  const shards = there.has(INDEX) ? [INDEX, ...shardsOf(await readJson(INDEX))] : [WEIGHTS];
  const names = [...TEXT_FILES.filter((name) => there.has(name)), ...shards];
  const missing = [...NEEDED, ...names].find((name) => !there.has(name));
  if (missing) throw corrupt(repo, `${missing} is not in the repository`);
  return names;
}

export function shardsOf(index) {
  const names = [...new Set(Object.values(index?.weight_map ?? {}))].sort();
  if (!names.length || names.some((name) => typeof name !== "string")) throw corrupt(INDEX, "it names no shards");
  return names;
}

class Hub {
  #base; #token; #signal; #fetch;

  constructor({ base, token, signal, fetch }) {
    this.#base = base.endsWith("/") ? base : `${base}/`;
    this.#token = token;
    this.#signal = signal;
    this.#fetch = fetch;
  }

  url(path) {
    return new URL(path, this.#base).href;
  }

  async json(path) {
    const url = this.url(path);
    const trusted = this.#token && this.#token.origin === new URL(url).origin;
    const headers = trusted ? { Authorization: `Bearer ${this.#token.value}` } : {};
    let response;
    try {
      response = await this.#fetch(url, { headers, signal: this.#signal });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw networkError(url, error.message);
    }
    const said = `the hub answered ${response.status} ${response.statusText}`.trim();
    if (!response.ok) throw networkError(url, said, response.status);
    return response.json().catch(() => {
      throw networkError(url, "the hub's answer is not JSON", response.status);
    });
  }
}
