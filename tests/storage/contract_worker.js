/** Runs the back ends' contract (js/storage/backends.js) on `?backend=NAME`; posts [{name, error}]. */
import { BACKENDS } from "/js/storage/backends.js";
import { CASES } from "./contract.js";

const backend = BACKENDS[new URL(self.location.href).searchParams.get("backend")]();
const results = [];
for (const [name, run] of Object.entries(CASES)) {
  const folder = `models/contract ${name}`;
  let error = null;
  try {
    await run(backend, folder);
  } catch (thrown) {
    error = String(thrown.stack ?? thrown);
  }
  await backend.remove(folder).catch((thrown) => (error ??= `remove: ${thrown}`));
  results.push({ name, error });
}
self.postMessage(results);
