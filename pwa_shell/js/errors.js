/**
 * Errors of the JavaScript side. The rows are those of pyengine/errors.py (a test compares them),
 * for what can fail where Python is not.
 */

export const MESSAGES = {
  "E_NO_WEBGPU": ["This browser offers no WebGPU adapter ({reason}).",
  "Use Safari 26 or later, or a current Chrome or Edge, and check that graphics acceleration is on."],
  "E_INSECURE_CONTEXT": ["{url} is not a secure context, so the browser hides WebGPU and storage.",
    "Open it over https or as http://localhost; python3 build.py serve --https sets up https."],
  "E_BUSY": ["{what} is in use by {owner}.",
    "Wait for it to finish, or close the other tab, and try again."],
  "E_DEVICE_LOST": ["The GPU device was lost ({reason}).",
    "Load the model again; close other heavy tabs if it repeats."],
  "E_QUOTA": ["This browser's storage is full: needs {needed} bytes, {available} are free.",
    "Delete a model or free disk space, then try again."],
  "E_CORRUPT_SHARD": ["{file} is damaged: {detail}.", "Delete this file and fetch it again."],
  "E_BAD_FILE": ["{file} is not a valid {format} file: {detail}.",
    "Check where the file came from and fetch it again."],
  "E_NOT_STORED": ["{model} is not whole in this browser's storage: {detail}.",
    "Download it, or resume its download."],
  "E_TRUNCATED": ["{file} ends too early: wanted bytes {start} to {end}, it has {size}.",
    "The file is incomplete; fetch it again."],
  "E_NETWORK": ["{url} could not be fetched: {detail}.",
    "Check the connection and the address, and try again."],
  "E_BAD_REQUEST": ["Parameter '{param}' is {got}; wanted {wanted}.",
    "Correct the request and send it again."],
  "E_INTERNAL": ["Something failed inside Jird: {detail}.",
    "Reload the page; report it if it repeats."],
};

/**
 * What a person can meet: `code` for programs, `message` and `next_step` for people, `facts`
 * (values).
 */
export class JirdError extends Error {
  constructor({ code, message, next_step, facts }) {
    super(message);
    this.name = "JirdError";
    this.code = code;
    this.next_step = next_step;
    this.facts = facts ?? {};
  }

  /** The form that crosses between threads and tabs. */
  toJSON() {
    return { code: this.code, message: this.message, next_step: this.next_step, facts: this.facts };
  }
}

/** A JirdError from the table; throws TypeError when a fact that its message needs is missing. */
export function jirdError(code, facts) {
  const fill = (text) => text.replace(/\{(\w+)\}/g, (_, name) => {
    if (facts[name] === undefined) throw new TypeError(`${code} needs the fact ${name}`);
    return String(facts[name]);
  });
  const [message, next_step] = MESSAGES[code].map(fill);
  return new JirdError({ code, message, next_step, facts });
}

/**
 * Any thrown value as a JirdError: {code, facts} of our other modules by the table, what has no
 * code is E_INTERNAL.
 */
export function asJirdError(error) {
  if (error instanceof JirdError) return error;
  const known = Object.hasOwn(MESSAGES, String(error?.code)) && error.facts;
  if (known) return jirdError(error.code, error.facts);
  return jirdError("E_INTERNAL", { detail: String(error?.message ?? error) });
}
