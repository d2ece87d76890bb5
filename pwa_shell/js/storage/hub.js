/**
 * Repositories of a hub: a name or an address -> the spec of its files (library.js).
 *
 *     org/name, org/name@revision, each with :path/to/file.gguf after it
 *     an address of a repository, of a folder or of a file at the hub
 *
 * A spec has sizes and, for large files, the published SHA-256; its revision is pinned to the
 * commit, so that a download never mixes two. A hub is whatever speaks the same API at `base`.
 */
import { jirdError } from "../errors.js";
import { corrupt, networkError } from "./errors.js";

export const HUB = "https://huggingface.co";
const MAIN = "main";
const KINDS = ["tree", "resolve", "blob", "raw"];
export const TEXT_FILES = ["config.json", "generation_config.json", "tokenizer.json",
  "tokenizer_config.json", "chat_template.jinja"];
const NEEDED = "config.json";
export const WEIGHTS = "model.safetensors";
export const INDEX = "model.safetensors.index.json";
// The hub's own rule: letters, digits, "-", "_", ".", no run or edge of "." and "-", 96 characters.
const PART = /^(?!.*(?:--|\.\.))[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9_])?$/;
const REVISION = /^(?!.*(?:\.\.|\/\/))[A-Za-z0-9](?:[A-Za-z0-9._/+-]{0,254}[A-Za-z0-9])?$/;
export const WANTED = "org/name, org/name@revision, org/name:file.gguf, or the address of a repository, "
  + "of a .gguf or, ending in /, of a folder";

export const badModel = (got, wanted = WANTED, param = "model") => (
  jirdError("E_BAD_REQUEST", { param, got: `'${String(got).slice(0, 120)}'`, wanted }));

/** Whether `text` can only mean a repository at `base`. */
export function isHub(text, base = HUB) {
  if (text.includes("://")) return inside(text, base) !== null;
  return text.includes("/") && !/^[./]/.test(text);
}

/** {repo, revision, file} of a repository's name or address; `file` is a .gguf or null. */
export function parseHub(text, base = HUB) {
  const asked = typeof text !== "string" ? null
    : text.includes("://") ? ofAddress(text, base) : ofName(text.trim());
  const parts = asked?.repo.split("/") ?? [];
  if (parts.length !== 2 || !parts.every((part) => PART.test(part))) throw badModel(text);
  if (!REVISION.test(asked.revision) || (asked.file !== null && !isGguf(asked.file))) throw badModel(text);
  return asked;
}

/** One text for one model: what the storage calls it. */
export function hubId({ repo, revision, file }) {
  return repo + (revision === MAIN ? "" : `@${revision}`) + (file ? `:${file}` : "");
}

/**
 * The spec of the repository that `text` names. `token` {value, origin} goes to that origin only.
 * Fails with E_NETWORK {status}, E_BAD_REQUEST (which file? `choices`: [{name, bytes}]),
 * E_CORRUPT_SHARD (an index that names what is not there).
 */
export async function resolveHub(text, options = {}) {
  const { base = HUB, token = null, signal, fetch = globalThis.fetch.bind(globalThis) } = options;
  const asked = parseHub(text, base), hub = new Hub({ base, token, signal, fetch });
  const revision = options.revision ?? asked.revision;
  const { repo } = asked;
  const info = await hub.json(hub.url(
    `api/models/${repo}/revision/${encodeURIComponent(revision)}?blobs=true`));
  const there = new Map((info.siblings ?? []).map((row) => [row.rfilename, row]));
  const commit = info.sha ?? revision;
  const path = (name) => name.split("/").map(encodeURIComponent).join("/");
  const address = (name) => hub.url(`${repo}/resolve/${encodeURIComponent(commit)}/${path(name)}`);
  const names = await choose(repo, options.file || asked.file, there, (name) => hub.json(address(name)));
  const single = names.length === 1 ? names[0] : null;
  return {
    id: hubId({ repo, revision, file: single }),
    name: single ? `${repo} (${single})` : repo,
    license: info.cardData?.license ?? null,
    source: { kind: "hub", url: hub.url(repo), revision: commit },
    files: names.map((name) => {
      const row = there.get(name);
      return { name, url: address(name), size: row.lfs?.size ?? row.size ?? null,
        sha256: row.lfs?.sha256 ?? null };
    }),
  };
}

/** Which files make the model: the named .gguf, the only one, or the texts with the weights. */
async function choose(repo, file, there, readJson) {
  const ggufs = [...there.keys()].filter(isGguf);
  const whole = there.has(WEIGHTS) || there.has(INDEX);
  if (file || (!whole && ggufs.length === 1)) {
    const name = file ?? ggufs[0];
    if (there.has(name)) return [name];
    throw badModel(name, ggufs.join(", ") || "a file of the repository", "file");
  }
  if (!whole) {
    const wanted = ggufs.length ? `one of ${ggufs.join(", ")}` : "a repository with safetensors or GGUF weights";
    const choices = ggufs.map((name) => ({ name, bytes: there.get(name).lfs?.size ?? there.get(name).size ?? null }));
    throw jirdError("E_BAD_REQUEST", { param: "file", got: ggufs.length ? "not given" : repo, wanted, choices });
  }
  const shards = there.has(INDEX) ? [INDEX, ...shardsOf(await readJson(INDEX))] : [WEIGHTS];
  const names = [...TEXT_FILES.filter((name) => there.has(name)), ...shards];
  const missing = [NEEDED, ...names].find((name) => !there.has(name));
  if (missing) throw corrupt(repo, `${missing} is not in the repository`);
  return names;
}

export function shardsOf(index) {
  const names = [...new Set(Object.values(index?.weight_map ?? {}))].sort();
  const plain = (name) => typeof name === "string" && name !== "" && !name.includes("/");
  if (!names.length || !names.every(plain)) throw corrupt(INDEX, "it names no shards, or none of this folder");
  return names;
}

/** `org/name`, `org/name@rev`, each with `:file.gguf` after it; null where it has another form. */
function ofName(text) {
  const [, name, , file = null] = /^([^:]*)(:(.*))?$/s.exec(text);
  const [, repo, , revision = MAIN] = /^([^@]*)(@(.*))?$/s.exec(name);
  return { repo, revision, file };
}

/** `<base>org/name[/tree|resolve|blob|raw/<rev>[/<path>]]`, without query and fragment. */
function ofAddress(text, base) {
  const parts = inside(text, base);
  if (!parts) return null;
  const repo = parts.slice(0, 2).join("/"), [kind, revision, ...path] = parts.slice(2);
  if (kind === undefined) return { repo, revision: MAIN, file: null };
  if (!KINDS.includes(kind) || revision === undefined) return null;
  // The address of any other file of a folder means the folder: people copy what they look at.
  const file = path.join("/") || null;
  const other = kind !== "tree" && file !== null && !/\/|\.gguf$/i.test(file);
  return { repo, revision, file: other ? null : file };
}

/** The path segments of address `text` below `base`, or null where it lies elsewhere. */
function inside(text, base) {
  if (!URL.canParse(text)) return null;
  const url = new URL(text), root = new URL(base.endsWith("/") ? base : `${base}/`);
  if (url.origin !== root.origin || url.username) return null;
  if (!url.pathname.startsWith(root.pathname)) return null;
  try {
    return url.pathname.slice(root.pathname.length).split("/").filter(Boolean).map(decodeURIComponent);
  } catch {
    return null; // a % that begins no character
  }
}

function isGguf(path) {
  const plain = path.split("/").every((part) => part !== "" && part !== "." && part !== "..");
  return plain && !/[\\\p{Cc}]/u.test(path) && /\.gguf$/i.test(path);
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

  async json(url) {
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
