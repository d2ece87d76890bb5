/**
 * What the check page tries, one row after the other. A check answers {state, text, facts}: "ok", "failed" or "skipped", the
 * key of the sentence that says it, and its figures; what it throws is a failure too.
 */
import { Hub } from "../../engine_client.js";
import { leaveStorage, useStorage } from "../../storage/shared.js";
import { makeCatalog, makeCreateEngine, workerURL } from "../../../jird.js";
import { openDatabase } from "../chat_store.js";
import { findObstacle } from "../problem.js";

const APP = new URL("../../../", import.meta.url);
const DATABASE = "jird-check";
const LIMITS = ["maxStorageBufferBindingSize", "maxBufferSize", "maxStorageBuffersPerShaderStage",
  "maxComputeWorkgroupStorageSize", "maxComputeInvocationsPerWorkgroup"];
const idOf = (name) => `local:jird-check-${name}`;

const ok = (text, facts = {}) => ({ state: "ok", text, facts });
const failed = (text, facts = {}) => ({ state: "failed", text, facts });
const skipped = (text, facts = {}) => ({ state: "skipped", text, facts });

/** One run of all checks: a worker for Python of its own, so that open chats go on. */
export class Checks {
  /** In order: [id, the check]. */
  rows = [
    ["secure", () => this.secure()], ["python", () => this.python()], ["store", () => this.store()],
    ["handles", () => this.handles()], ["chats", () => this.chats()], ["room", () => this.room()],
    ["offline", () => this.offline()], ["gpu", () => this.gpu()], ["llama", () => this.model("llama")],
    ["hybrid", () => this.model("hybrid")], ["selftest", () => this.selftest()],
    ["sound", () => this.sound()], ["install", () => this.install()],
  ];
  #hub = new Hub(workerURL, `${APP.pathname}check/`);
  #storage = useStorage();
  #stored = null; #obstacle = null; #engine = null;

  async secure() {
    return isSecureContext ? ok("check_secure_ok") : failed("check_secure_failed");
  }

  async python() {
    const began = performance.now();
    await makeCatalog(this.#hub)();
    return ok("check_python_ok", { seconds: seconds(began) });
  }

  /** A tiny model is written, and read back by its digests. */
  async store() {
    this.#stored = await this.#storage.call("info");
    const { backend, durable } = this.#stored;
    const row = await this.#keep("llama");
    const { ok: right } = await this.#storage.call("verify", { id: idOf("llama") });
    const facts = { backend, bytes: row.bytes };
    if (!right) return failed("check_store_damaged", facts);
    return durable ? ok("check_store_ok", facts) : failed("check_store_memory", facts);
  }

  async handles() {
    const { backend, refused } = this.#stored;
    if (backend === "opfs-sync") return ok("check_handles_ok");
    return skipped("check_handles_skipped", { reason: refused.find(({ name }) => name === "opfs-sync")?.reason ?? "?" });
  }

  async chats() {
    const db = await openDatabase(DATABASE, [(made) => made.createObjectStore("rows")]);
    try {
      const write = db.transaction("rows", "readwrite");
      write.objectStore("rows").put("written", 1);
      await new Promise((resolve, reject) => {
        write.oncomplete = resolve;
        write.onabort = () => reject(write.error);
      });
      const read = db.transaction("rows").objectStore("rows").get(1);
      await new Promise((resolve) => (read.onsuccess = resolve));
      return read.result === "written" ? ok("check_chats_ok") : failed("check_chats_failed");
    } finally {
      db.close();
      indexedDB.deleteDatabase(DATABASE);
    }
  }

  async room() {
    const { usage, quota, persisted } = this.#stored;
    if (!quota) return skipped("check_room_unknown");
    const facts = { free: quota - (usage ?? 0), persisted };
    return ok(persisted ? "check_room_kept" : "check_room_ok", facts);
  }

  async offline() {
    if (!navigator.serviceWorker) return failed("check_offline_failed");
    return navigator.serviceWorker.controller ? ok("check_offline_ok") : skipped("check_offline_skipped");
  }

  async gpu() {
    this.#obstacle = await findObstacle(false); // the GPU's row is about the GPU
    if (this.#obstacle) throw this.#obstacle;
    const adapter = await /** @type {any} */ (navigator).gpu.requestAdapter();
    const { vendor = "", architecture = "", description = "" } = adapter.info ?? {};
    const limits = Object.fromEntries(LIMITS.map((name) => [name, adapter.limits[name]]));
    const features = [...adapter.features].sort().join(" ");
    return ok("check_gpu_ok", { name: [vendor, architecture, description].filter(Boolean).join(" ") || "?",
      binding: limits.maxStorageBufferBindingSize, buffer: limits.maxBufferSize, features, ...limits });
  }

  /** A tiny model of random weights writes the tokens that are known; `?device=reference` needs no GPU. */
  async model(name) {
    const reference = new URLSearchParams(location.search).get("device") === "reference";
    if (this.#obstacle && !reference) return skipped("check_model_skipped");
    const { prompt, ids } = (await (await fetch(new URL("check/known.json", APP))).json())[name];
    if (name !== "llama") await this.#keep(name);
    const began = performance.now();
    await this.#engine?.unload();
    this.#engine = await makeCreateEngine(this.#hub)({ model: idOf(name), context: 256 });
    const body = { prompt, temperature: 0, max_tokens: ids.length, return_token_ids: true };
    const answer = await this.#engine.completions.create(body);
    const { device } = await this.#engine.stats();
    const found = answer.choices[0].token_ids;
    const right = found.every((id, i) => id === ids[i]) && found.length === ids.length;
    const facts = { tokens: ids.length, seconds: seconds(began), backend: device.backend, mode: device.mode };
    return right ? ok("check_model_ok", facts) : failed("check_model_failed", { ...facts, found: found.join(" ") });
  }

  async selftest() {
    if (this.#obstacle || !this.#engine) return skipped("check_model_skipped");
    const { rows, layout, off, ms } = await this.#engine.selftest();
    const right = rows.filter((row) => row.right).length;
    const wrong = rows.filter((row) => !row.right).map(({ what, dispatches, passes, submits }) => (
      `${what}: ${dispatches}/${passes}/${submits}`)).join("; ");
    const facts = { right, all: rows.length, ms: Math.round(ms), passes: layout[0], dispatches: layout[1] };
    if (right === rows.length) return ok("check_selftest_ok", facts);
    return failed("check_selftest_failed", { ...facts, wrong, off: off.join(" ") });
  }

  async sound() {
    if (!globalThis.AudioWorkletNode) return failed("check_sound_failed");
    return navigator.mediaDevices?.getUserMedia ? ok("check_sound_ok") : skipped("check_sound_skipped");
  }

  async install() {
    const standalone = matchMedia("(display-mode: standalone)").matches || /** @type {any} */ (navigator).standalone;
    return standalone ? ok("check_install_ok") : skipped("check_install_skipped");
  }

  /** Leaves nothing behind. */
  async end() {
    await this.#engine?.unload();
    for (const name of ["llama", "hybrid"]) await this.#forget(name);
    await leaveStorage();
  }

  async #keep(name) {
    await this.#forget(name);
    const files = await Promise.all(["config.json", "model.safetensors"].map(async (file) => {
      const blob = await (await fetch(new URL(`check/${name}/${file}`, APP))).blob();
      return { name: file, file: new File([blob], file) };
    }));
    return this.#storage.call("import", { id: idOf(name), name, files });
  }

  #forget(name) {
    return this.#storage.call("delete", { id: idOf(name) }).catch(() => {}); // it is not there
  }
}

const seconds = (began) => Math.round((performance.now() - began) / 100) / 10;
