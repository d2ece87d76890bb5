/**
 * Readers of a model's files: from this browser's storage, which the first use fills. What is stored
 * is asked first, so that a model that is here needs no network. Where storage refuses (no room, no
 * back end), files are read from their source as they are needed, and `notice` says that nothing
 * was kept.
 */
import { jirdError } from "./errors.js";
import { openSource } from "./http_source.js";
import { StorageClient } from "./storage/client.js";
import { HUB, hubId, isHub, parseHub } from "./storage/hub.js";
import { isAddress, resolveModel } from "./storage/url.js";

/** Failures of storage alone; all others reading from the source would meet as well. */
const STORAGE_ONLY = ["E_QUOTA", "E_BUSY", "E_INTERNAL"];

/** The spec of row `row` of `models/index.json` at `site`, URL of the app's folder. */
export function siteSpec(row, site) {
  const folder = `${site}models/${encodeURIComponent(row.id)}/`;
  const files = row.files.map(({ name, bytes, sha256 }) => (
    { name, url: folder + encodeURIComponent(name), size: bytes, sha256 }));
  const source = { kind: "site", url: site, revision: null };
  return { id: row.id, name: row.name, license: row.license, source, files };
}

/** What the storage sends to the hub's origin and to no other; null without a token. */
export function hubToken(token, base = HUB) {
  return token ? { value: token, origin: new URL(base).origin } : null;
}

export class ModelFiles {
  #site; #index; #storage = null; #coming = null; #come;
  /** {code, message} of why the last model is not kept in this browser, or null. */
  notice = null;

  /** `site`: URL of the app's folder; `index()`: Promise of its models/index.json. */
  constructor(site, index) {
    this.#site = site;
    this.#index = index;
  }

  /** The page lends its storage worker: "coming", then a port; null where it has none, or none any more (shared.js). */
  lent(port) {
    if (port === "coming") return void (this.#coming = new Promise((go) => (this.#come = go)));
    this.#storage?.terminate(); // its calls fail
    this.#storage = port && new StorageClient(port);
    this.#come();
  }

  /**
   * Readers [{name, size, read(offset, length), dropHead(), close()}] of `model`: an id of the site
   * or of the storage, a hub name or an address; what is missing is downloaded. `hub`: address of
   * another hub, `token` for it. Fails with E_NETWORK, E_CORRUPT_SHARD, E_NOT_STORED, E_BAD_REQUEST.
   */
  async open(model, { hub, token, signal, onProgress } = {}) {
    const found = await this.#find(model, hub ?? HUB, signal);
    const options = { base: hub ?? HUB, token: hubToken(token, hub), signal };
    const spec = found.spec ?? (found.id ? null : await resolveModel(model, options));
    try {
      const readers = await this.#stored(spec ?? { id: found.id }, found, { ...options, onProgress });
      this.notice = null;
      return readers;
    } catch (error) {
      if (!spec || !STORAGE_ONLY.includes(error.code)) throw error;
      this.notice = { code: error.code, message: error.message };
      console.warn(`the model is not kept in this browser: ${error.message}`);
      return direct(spec, options.token);
    }
  }

  /** {spec} of a model of the site, {id, row} of a stored one, or {} of one to be resolved. */
  async #find(model, base, signal) {
    let failure = null;
    const models = await this.#index().catch((error) => ((failure = error), []));
    const row = models.find(({ id }) => id === model);
    if (row) return { spec: siteSpec(row, this.#site) };
    const stored = await this.#lookUp(model, base, signal);
    if (stored) return { id: stored.id, row: stored };
    if (isHub(model, base) || isAddress(model)) return {};
    if (failure) throw failure;
    const wanted = "an id of this site, a stored model, org/name of a hub, or a URL";
    throw jirdError("E_BAD_REQUEST", { param: "model", got: `'${model}'`, wanted });
  }

  /** The row of what is stored as `model`; a repository's only stored .gguf goes by its name too. */
  async #lookUp(model, base, signal) {
    const rows = await this.#call("list", {}, { signal }).catch((error) => {
      if (!STORAGE_ONLY.includes(error.code)) throw error;
      return []; // the download will say why
    });
    const known = rows.filter(({ state }) => state !== "broken");
    const named = known.find((row) => row.id === model);
    if (named || !isHub(model, base)) return named ?? null;
    const id = hubId(parseHub(model, base));
    const ofRepo = known.filter((row) => row.source?.kind === "hub" && row.id.startsWith(`${id}:`));
    return known.find((row) => row.id === id) ?? (ofRepo.length === 1 ? ofRepo[0] : null);
  }

  async #stored(spec, { row }, { base, token, signal, onProgress }) {
    const local = row?.source?.kind === "local";
    const address = row?.source?.kind === "url";
    // An address may hold another file tomorrow; a hub's revision is a commit, which cannot.
    const { files: changed } = address ? await this.#call("changed", { id: row.id }, { signal })
      : { files: [] };
    if (changed.length) spec = await resolveModel(row.source.url, { base, token, signal });
    if (!local) await this.#call("download", { spec, changed, token }, { onProgress, signal });
    const model = await this.#storage.openModel(spec.id);
    let open = model.files.size;
    return [...model.files.values()].map((reader) => {
      const close = () => {
        reader.close();
        if (--open === 0) model.close().catch(() => {}); // nobody waits for it
      };
      return { ...reader, close, dropHead() {} };
    });
  }

  /** One call of the page's storage worker, of one of our own where the page lends none. */
  async #call(method, params, options) {
    await this.#coming;
    this.#storage ??= StorageClient.start(new URL("storage_worker.js", this.#site));
    return this.#storage.call(method, params, options);
  }
}

function direct(spec, token) {
  return Promise.all(spec.files.map(({ name, url }) => {
    const trusted = token && token.origin === new URL(url).origin;
    const headers = trusted ? { Authorization: `Bearer ${token.value}` } : {};
    return openSource(url, { name, headers });
  }));
}
