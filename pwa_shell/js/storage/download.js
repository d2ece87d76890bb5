/**
 * Brings a model's files into the storage: several ranges at once, each chunk hashed, written, flushed and only then marked, so
 * that whatever ends it, what is marked is never fetched again. The last stage reads everything back.
 *
 *     new Download({ backend, manifest, progress, signal, token, options }).run()
 *
 * Resolves when the manifest says "complete". Fails with E_NETWORK, E_CORRUPT_SHARD, E_QUOTA, E_BUSY, or the signal's reason.
 */
import { giveBuffer, takeBuffer } from "./buffers.js";
import { ChunkWriter, checkFile } from "./chunks.js";
import { corrupt, networkError } from "./errors.js";
import { ensureRoom, quotaError } from "./quota.js";
import { sha256Hex } from "./sha256.js";
import { pieces } from "./streams.js";
import { DEFAULTS, Transfer } from "./transfer.js";

const MAX_RESTARTS = 3; // versions of a file that may come and go during one download
const MAX_ROUNDS = 3;   // times that chunks which read back wrong are fetched again

export class Download {
  #backend; #manifest; #transfer; #progress; #signal; #options;
  #writer; #runs = new Map(); #wake = null; #changed = null; #ending = new AbortController();

  constructor({ backend, manifest, progress, signal, token = null, options = {} }) {
    this.#backend = backend;
    this.#manifest = manifest;
    this.#progress = progress;
    this.#signal = AbortSignal.any([signal, this.#ending.signal]);
    this.#signal.addEventListener("abort", () => this.#notify());
    this.#options = { ...DEFAULTS, ...options };
    this.#transfer = new Transfer({ signal: this.#signal, token, options: this.#options });
    // What one run knows of a file: version number, chunks under way, whether one response sends all of it.
    for (const entry of manifest.files) this.#runs.set(entry, { version: 0, busy: new Set(), streaming: false, restarts: 0 });
  }

  async run() {
    for (let round = 1; ; round++) {
      this.#writer = new ChunkWriter(this.#backend, this.#manifest);
      try {
        await this.#checkRoom();
        await this.#manifest.save(this.#backend);
        await this.#fetchAll();
        for (const entry of this.#manifest.files) await this.#writer.settle(entry);
      } catch (error) {
        throw error.code === "E_QUOTA" && !error.facts.quota ? await this.#quota() : error;
      } finally {
        await this.#writer.close();
      }
      if (await this.#verify(round)) break;
    }
    this.#manifest.state = "complete";
    await this.#manifest.save(this.#backend);
  }

  #remaining() {
    return this.#manifest.files.reduce((sum, file) => sum + (file.size ?? 0) - (file.size === null ? 0 : file.bytesWritten), 0);
  }

  #checkRoom() {
    return ensureRoom(this.#backend, this.#remaining(), { except: this.#manifest.id });
  }

  #quota() {
    return quotaError(this.#backend, this.#remaining(), { except: this.#manifest.id });
  }

  /** Runners take chunks until none is left; the first failure ends them all. */
  async #fetchAll() {
    this.#tell("download");
    const chunk = Math.max(...this.#manifest.files.map((file) => file.chunk));
    const buffers = Array.from({ length: this.#options.parallel }, () => takeBuffer(chunk));
    await Promise.all(buffers.map((buffer) => this.#runner(buffer).catch((error) => this.#ending.abort(error))));
    buffers.forEach(giveBuffer); // when no runner writes any more: a lost handle's chunks are written again from them
    this.#signal.throwIfAborted();
  }

  async #runner(buffer) {
    for (;;) {
      this.#signal.throwIfAborted();
      const job = this.#next();
      if (!job && [...this.#runs.values()].every((run) => run.busy.size === 0)) return;
      if (!job) await this.#change();
      else await this.#work(job, buffer);
    }
  }

  /** The next chunk that nobody fetches, or null. A file of unknown size begins with its first chunk alone. */
  #next() {
    for (const [entry, run] of this.#runs) {
      if (run.streaming) continue;
      if (entry.size === null) {
        if (run.busy.size === 0) return { entry, run, index: 0 };
        continue;
      }
      for (const index of entry.missing()) if (!run.busy.has(index)) return { entry, run, index };
    }
    return null;
  }

  async #work({ entry, run, index }, buffer) {
    run.busy.add(index);
    try {
      await this.#chunk(entry, run, index, buffer);
    } finally {
      run.busy.delete(index);
      this.#notify();
    }
  }

  async #chunk(entry, run, index, buffer) {
    const { version } = run, knew = entry.size;
    const onBytes = (count) => this.#progress.fetched(count);
    const answer = await this.#transfer.fill(entry, index * entry.chunk, entry.chunk, buffer, onBytes);
    if (run.version !== version) return void answer.watch?.abort();
    if (knew === null && entry.size !== null) await this.#checkRoom();
    if (answer.kind === "changed") return this.#restart(entry, run, version, answer.version);
    if (answer.kind === "whole") return this.#stream(entry, run, answer, buffer);
    await this.#keep(entry, run, version, index, buffer.subarray(0, answer.count));
  }

  async #keep(entry, run, version, index, bytes) {
    if (entry.size === 0) return;
    const known = entry.sha256[index];
    if (known && known !== (await sha256Hex(bytes))) return this.#restart(entry, run, version, null);
    const current = () => run.version === version && !this.#signal.aborted;
    if (await this.#writer.put(entry, index, bytes, current)) this.#tell("download");
  }

  /** Another version lies at the source: nothing of the old one may stay. `to` null: its tags were not seen. */
  async #restart(entry, run, version, to) {
    if (run.version !== version) return; // another range saw it first
    run.version++;
    if (++run.restarts > MAX_RESTARTS) throw corrupt(entry.name, "it keeps changing on the server");
    await this.#writer.reset(entry, { ...to, size: to?.size ?? (entry.declared ? entry.size : null) });
    await this.#checkRoom();
    this.#tell("download");
  }

  /** One response sends the whole file: chunks that are here are compared and passed over, the others kept. */
  async #stream(entry, run, first, buffer) {
    if (run.streaming) return first.watch.abort();
    run.streaming = true;
    const { version } = run;
    try {
      for (let answer = first, failures = 0; ;) {
        const before = entry.bytesWritten;
        const failure = await this.#readStream(entry, run, version, answer, buffer).catch((error) => error);
        answer.watch.abort();
        this.#signal.throwIfAborted();
        if (!failure || run.version !== version) return;
        if (!(failure instanceof TypeError || answer.watch.stalled)) throw failure;
        failures = entry.bytesWritten > before ? 1 : failures + 1;
        if (failures >= this.#options.tries) throw networkError(entry.url, failure.message);
        answer = await this.#transfer.whole(entry);
        if (answer.kind !== "whole") return await this.#restart(entry, run, version, answer.version ?? null);
      }
    } finally {
      run.streaming = false;
    }
  }

  async #readStream(entry, run, version, { response, watch }, buffer) {
    let index = 0, filled = 0, total = 0;
    const finish = async () => {
      const bytes = buffer.subarray(0, filled);
      if (!entry.has(index)) await this.#keep(entry, run, version, index, bytes);
      else if ((await sha256Hex(bytes)) !== entry.sha256[index]) await this.#restart(entry, run, version, null);
      index++;
      filled = 0;
    };
    for await (const piece of pieces(response.body, watch, response)) {
      this.#progress.fetched(piece.length);
      total += piece.length;
      if (entry.size !== null && total > entry.size) throw wrongLength(entry, `more than ${entry.size}`);
      for (let at = 0, count; at < piece.length; at += count) {
        if (filled === entry.chunk) await finish();
        if (run.version !== version) return;
        count = Math.min(entry.chunk - filled, piece.length - at);
        buffer.set(piece.subarray(at, at + count), filled);
        filled += count;
      }
    }
    if (entry.size !== null && total < entry.size) throw wrongLength(entry, String(total));
    entry.size = total;
    if (filled) await finish();
  }

  /** Reads all of it back through new handles: what the browser says it wrote is believed only now. */
  async #verify(round) {
    const total = this.#manifest.size;
    let done = 0, good = true;
    this.#progress.at("verify", 0, total);
    const onBytes = (count) => this.#progress.at("verify", (done += count), total);
    for (const entry of this.#manifest.files) {
      const { bad, whole } = await checkFile(this.#backend, this.#manifest.id, entry, { signal: this.#signal, onBytes });
      if (whole === false) await this.#wrongWhole(entry);
      bad.forEach((index) => entry.unmark(index));
      good &&= bad.length === 0;
      if (bad.length && round === MAX_ROUNDS) {
        throw corrupt(entry.name, `chunks ${bad.slice(0, 5).join(", ")} read back wrong ${round} times`);
      }
    }
    return good;
  }

  /** Every chunk is as it was sent, so the source itself is wrong: no chunk of it can be trusted. */
  async #wrongWhole(entry) {
    const writer = new ChunkWriter(this.#backend, this.#manifest);
    await writer.reset(entry, { size: entry.declared ? entry.size : null });
    await writer.close();
    throw corrupt(entry.name, `its SHA-256 is not the published ${entry.expected.slice(0, 12)}…`);
  }

  #tell(stage) {
    this.#progress.at(stage, this.#manifest.bytesWritten, this.#manifest.size);
  }

  #change() {
    this.#changed ??= new Promise((resolve) => (this.#wake = resolve));
    return this.#changed;
  }

  #notify() {
    this.#wake?.();
    this.#changed = this.#wake = null;
  }
}

function wrongLength(entry, got) {
  return corrupt(entry.name, `the server sent ${got} of ${entry.size} bytes`);
}
