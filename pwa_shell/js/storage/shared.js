/**
 * The page's one storage worker: the Models page, the engine's worker and the device check share it, so that what only memory holds,
 * in a browser that refuses to store, is there for all of them. It ends with its last user, unless that would lose models.
 */
import { StorageClient } from "./client.js";

const WORKER = new URL("../../storage_worker.js", import.meta.url);

let client = null, users = 0;
const lost = new Set(); // who is told that the worker is gone

/** One more user; each needs one `leaveStorage`. -> the page's StorageClient. */
export function useStorage() {
  users++;
  return (client ??= start());
}

function start() {
  const made = StorageClient.start(WORKER);
  made.onLost = () => {
    made.terminate();
    if (client === made) client = null; // the next user starts another
    for (const tell of [...lost]) tell();
  };
  return made;
}

/** One user less. */
export async function leaveStorage() {
  users--;
  const mine = client;
  if (users || !mine) return;
  const { durable, models_bytes: held } = await mine.call("info").catch(() => ({ durable: true }));
  if (users || client !== mine || (!durable && held)) return;
  client = null;
  mine.terminate();
}

/**
 * Gives the engine's `worker` a port to the page's storage worker: {storage: "coming"} at once, then {storage: port}, and {storage: null}
 * once there is none. -> a function that takes it back: what was begun or opened through it ends.
 */
export function lendStorage(worker) {
  worker.postMessage({ storage: "coming" });
  const mine = useStorage();
  const refuse = () => worker.postMessage({ storage: null });
  lost.add(refuse);
  const connected = mine.connect().then(({ port, connection }) => {
    worker.postMessage({ storage: port }, [port]);
    return connection;
  });
  connected.catch(() => {}); // `refuse` was told
  return async () => {
    lost.delete(refuse);
    const connection = await connected.catch(() => null);
    if (connection !== null) await mine.call("disconnect", { connection }).catch(() => {});
    await leaveStorage();
  };
}
