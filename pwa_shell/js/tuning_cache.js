/**
 * What the autotuner measured and the self-test found, as text by key, in IndexedDB: some kB a device and
 * version. A browser that keeps nothing only makes the next load measure again, so no failure here
 * is an error.
 */
import { smallStore } from "./small_store.js";

/** The key of the model that is being loaded, from before the GPU's memory is filled until it is ready: app/tuning.py. */
export const LOADING = "loading";

const within = smallStore("jird-tuning", "choices", { autoIncrement: true });
const MOST = 32; // keys, of which the whole self-test alone keeps one for each of its models; a new version leaves the old ones behind

/** The text kept under `key`, or undefined. */
export async function getTuning(key) {
  try {
    const request = await within("readonly", (store) => store.getAll());
    return request.result.findLast((row) => row.key === key)?.text;
  } catch {
    return undefined;
  }
}

/** Keeps `text` under `key` and drops the oldest keys beyond a few. */
export async function putTuning(key, text) {
  try {
    await within("readwrite", (store) => {
      store.openCursor(null, "prev").onsuccess = ({ target: { result: cursor } }) => {
        if (!cursor) return store.add({ key, text });
        const seen = (store.jirdSeen ??= new Set([key]));
        if (seen.has(cursor.value.key) || seen.size >= MOST) cursor.delete();
        seen.add(cursor.value.key);
        return cursor.continue();
      };
    });
  } catch {
    // measured again next time
  }
}
