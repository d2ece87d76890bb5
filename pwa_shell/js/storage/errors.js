/** What the browser's storage and the network say, as coded errors with a next step. */
import { asJirdError, jirdError, JirdError } from "../errors.js";

const BUSY_WAITS_MS = [50, 100, 200, 400, 800, 1600];
const LOST = ["NotFoundError", "NotReadableError", "InvalidStateError", "TypeMismatchError"];

// What a person can do about a refusal; other statuses keep the table's advice.
const NEXT_STEP = {
  401: "This repository needs permission: accept its terms on its page and give a token that may read it.",
  403: "This repository needs permission: accept its terms on its page and give a token that may read it.",
  404: "Check the name of the model, its revision and the file; it may have been moved or deleted.",
  410: "Check the name of the model, its revision and the file; it may have been moved or deleted.",
  429: "The server asks for a pause: wait some minutes, then resume; nothing verified is fetched again.",
};
const SERVER_STEP = "The server has a fault: wait some minutes, then resume; nothing verified is fetched again.";

/** E_NETWORK with the HTTP `status` (0: none came) and the step that fits it. */
export function networkError(url, detail, status = 0) {
  const plain = new URL(url);
  plain.search = ""; // signed addresses carry secrets there
  const error = jirdError("E_NETWORK", { url: plain.href, detail, status });
  error.next_step = NEXT_STEP[status] ?? (status >= 500 ? SERVER_STEP : error.next_step);
  return error;
}

/** A DOMException of a storage call on `what` as a JirdError; JirdErrors and aborts pass as they are. */
export function storageError(error, what) {
  if (error instanceof JirdError || error?.name === "AbortError") return error;
  if (error?.name === "NoModificationAllowedError") return busy(what);
  if (error?.name === "QuotaExceededError") return jirdError("E_QUOTA", { needed: "more", available: "too few" });
  if (LOST.includes(error?.name)) return corrupt(what, `the browser no longer has it (${error.name})`);
  return asJirdError(error);
}

/** E_CORRUPT_SHARD for a file. */
export function corrupt(file, detail) {
  return jirdError("E_CORRUPT_SHARD", { file, detail });
}

export function busy(what) {
  return jirdError("E_BUSY", { what, owner: "another tab or worker of this site" });
}

/** Runs `work` once more where the browser dropped a handle: what was not flushed must be written again. */
export async function again(work) {
  try {
    return await work();
  } catch (error) {
    if (error.name !== "InvalidStateError") throw error;
    return work();
  }
}

/** Runs `attempt` again, for about 3 s in all, while another holder refuses it; then E_BUSY. */
export async function busyRetry(what, attempt) {
  for (const wait of [...BUSY_WAITS_MS, null]) {
    try {
      return await attempt();
    } catch (error) {
      if (error.name !== "NoModificationAllowedError") throw error;
      if (wait === null) throw busy(what);
      await new Promise((resolve) => setTimeout(resolve, wait));
    }
  }
}
