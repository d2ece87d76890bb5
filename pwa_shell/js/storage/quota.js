/** How much this origin may store, what of it is used, and what could be freed. */
import { jirdError } from "../errors.js";
import { storedIds, Manifest } from "./manifest.js";

const SLACK = 1 << 20; // manifests, and what the browser itself writes down
const OWN_CACHE = /^(jird|workbox)-/;
const OWN_DATABASE = /^(jird|workbox)-/;
const OWN_FOLDER = ["models", "model-parts", "jird"];

/** {usage, quota, persisted, details}: bytes, null where the browser does not say. */
export async function estimate() {
  const { usage = null, quota = null, usageDetails = null } = (await navigator.storage?.estimate?.()) ?? {};
  const persisted = (await navigator.storage?.persisted?.()) ?? null;
  return { usage, quota, persisted, details: usageDetails };
}

/** Throws E_QUOTA {needed, available, used, quota, freeable} unless `needed` more bytes fit. */
export async function ensureRoom(backend, needed, { except } = {}) {
  const { usage, quota } = await estimate();
  if (quota === null || needed === 0 || usage + needed + SLACK <= quota) return;
  throw await quotaError(backend, needed, { except });
}

/** E_QUOTA, after a refusal (a full disk holds less than the browser promises: nothing more), with what could be freed, largest first: [{kind: "model" | "cache" | "database" | "folder", name, bytes}]. */
export async function quotaError(backend, needed, { except } = {}) {
  const { usage, quota } = await estimate();
  const models = [];
  for (const id of await storedIds(backend)) {
    if (id !== except) models.push({ kind: "model", name: id, bytes: (await Manifest.load(backend, id))?.bytesWritten ?? null });
  }
  const freeable = [...models, ...(await foreign())].sort((a, b) => (b.bytes ?? 0) - (a.bytes ?? 0));
  const promised = Math.max(0, (quota ?? 0) - (usage ?? 0));
  const available = promised < needed + SLACK ? promised : 0;
  return jirdError("E_QUOTA", { needed, available, used: usage, quota, freeable });
}

/** What other programs of this origin keep: [{kind, name, bytes}], bytes null where the browser does not say. */
export async function foreign() {
  const [caches, databases, folders] = await Promise.all([foreignCaches(), foreignDatabases(), foreignFolders()]);
  return [...caches, ...databases, ...folders];
}

/** Deletes what `foreign()` listed: `items` [{kind, name}]. What is ours is never touched. */
export async function clearForeign(items) {
  const known = await foreign();
  for (const { kind, name } of items) {
    if (!known.some((item) => item.kind === kind && item.name === name)) continue;
    if (kind === "cache") await caches.delete(name);
    else if (kind === "folder") await (await navigator.storage.getDirectory()).removeEntry(name, { recursive: true });
    else if (kind === "database") await deleteDatabase(name);
  }
  return foreign();
}

async function foreignCaches() {
  const names = (await globalThis.caches?.keys().catch(() => [])) ?? [];
  return Promise.all(names.filter((name) => !OWN_CACHE.test(name)).map(async (name) => (
    { kind: "cache", name, bytes: await cacheBytes(name) })));
}

/** Headers first: a body is opened, one at a time, only where they say nothing. */
async function cacheBytes(name) {
  const cache = await caches.open(name);
  let bytes = 0;
  for (const request of await cache.keys()) {
    const response = await cache.match(request, { ignoreVary: true });
    const length = response?.headers.get("Content-Length");
    bytes += length === null || length === undefined ? (await response?.blob())?.size ?? 0 : Number(length);
  }
  return bytes;
}

async function foreignDatabases() {
  const found = (await globalThis.indexedDB?.databases?.().catch(() => [])) ?? [];
  return found.filter(({ name }) => !OWN_DATABASE.test(name)).map(({ name }) => ({ kind: "database", name, bytes: null }));
}

async function foreignFolders() {
  const found = [];
  try {
    for await (const [name, handle] of (await navigator.storage.getDirectory()).entries()) {
      if (!OWN_FOLDER.includes(name)) found.push({ kind: "folder", name, bytes: await entryBytes(handle) });
    }
  } catch (error) {
    if (!(error instanceof DOMException || error instanceof TypeError)) throw error; // no private file system here
  }
  return found;
}

async function entryBytes(handle) {
  if (handle.kind === "file") return (await handle.getFile()).size;
  let bytes = 0;
  for await (const below of handle.values()) bytes += await entryBytes(below);
  return bytes;
}

function deleteDatabase(name) {
  return new Promise((resolve, reject) => {
    const request = indexedDB.deleteDatabase(name);
    request.onsuccess = resolve;
    request.onerror = () => reject(request.error);
    request.onblocked = () => reject(jirdError("E_BUSY", { what: name, owner: "another tab of this site" }));
  });
}
