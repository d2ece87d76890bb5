/**
 * Readers of a catalogue model's files: from this browser's storage, which the first use fills. Where storage refuses (no room,
 * no back end), the files are read from the site as they are needed, and `notice` says that nothing was kept.
 */
import { openSource } from "./http_source.js";
import { StorageClient } from "./storage/client.js";

/** Failures that fetching from the site would meet as well, or that the person must hear of. */
const FINAL = ["E_NETWORK", "E_INSECURE_CONTEXT", "E_BAD_REQUEST"];

export class ModelFiles {
  #site; #storage = null;
  /** {code, message} of why the last model is not kept in this browser, or null. */
  notice = null;

  /** `site`: URL of the app's folder. */
  constructor(site) {
    this.#site = site;
  }

  /** URL of a file of catalogue row `row`. */
  url(row, name) {
    return `${this.#site}models/${encodeURIComponent(row.id)}/${encodeURIComponent(name)}`;
  }

  /** Map of url -> reader {name, size, read, dropHead, close} of `row`'s files, downloading what is missing. */
  async open(row, onProgress) {
    try {
      const files = await this.#stored(row, onProgress);
      this.notice = null;
      return files;
    } catch (error) {
      if (FINAL.includes(error.code)) throw error;
      this.notice = { code: error.code ?? "E_INTERNAL", message: error.message };
      console.warn(`the model is not kept in this browser: ${error.message}`);
      const sources = row.files.map(async ({ name }) => [this.url(row, name), await openSource(this.url(row, name), { name })]);
      return new Map(await Promise.all(sources));
    }
  }

  async #stored(row, onProgress) {
    this.#storage ??= StorageClient.start(new URL("storage_worker.js", this.#site));
    const files = row.files.map(({ name, bytes, sha256 }) => ({ name, url: this.url(row, name), size: bytes, sha256 }));
    const source = { kind: "site", url: this.#site, revision: null };
    const spec = { id: row.id, name: row.name, license: row.license, source, files };
    await this.#storage.call("download", { spec }, { onProgress });
    const model = await this.#storage.openModel(row.id);
    let open = model.files.size;
    return new Map([...model.files].map(([name, reader]) => {
      const close = () => {
        reader.close();
        if (--open === 0) model.close().catch(() => {}); // nobody waits for it
      };
      return [this.url(row, name), { ...reader, close, dropHead() {} }];
    }));
  }
}
