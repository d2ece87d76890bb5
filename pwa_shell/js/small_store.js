/**
 * A store of a database of its own in IndexedDB, for what the browser may forget without loss. -> `within(mode, work)`:
 * runs `work(store)` in one transaction and resolves to its result once that is complete. The connection is closed again,
 * so that nothing holds up a person who clears the site's data.
 * @param {string} database @param {string} name @param {IDBObjectStoreParameters} options of the store
 */
export function smallStore(database, name, options) {
  return async (mode, work) => {
    const db = await open(database, name, options);
    try {
      const transaction = db.transaction(name, mode);
      const done = new Promise((resolve, reject) => {
        transaction.oncomplete = resolve;
        transaction.onabort = () => reject(transaction.error);
      });
      const result = work(transaction.objectStore(name));
      await done;
      return result;
    } finally {
      db.close();
    }
  };
}

function open(database, name, options) {
  return new Promise((resolve, reject) => {
    const opening = indexedDB.open(database, 1);
    opening.onupgradeneeded = () => opening.result.createObjectStore(name, options);
    opening.onsuccess = () => resolve(opening.result);
    opening.onerror = () => reject(opening.error);
  });
}
