/**
 * Errors of the JavaScript side. The rows are those of pyengine/errors.py (a test compares them),
 * for what can fail where Python is not.
 */

export const MESSAGES = {
  "E_NO_WEBGPU": ["This browser offers no WebGPU adapter ({reason}).",
  "Use Safari 26 or later, or a current Chrome or Edge, and check that graphics acceleration is on."],
  "E_INSECURE_CONTEXT": ["{url} is not a secure context, so the browser hides WebGPU and storage.",
    "Open it over https or as http://localhost; python3 build.py serve --https sets up https."],
  "E_NO_MICROPHONE": ["No microphone can be used here ({reason}).",
    "Allow it for this site in the browser's settings, or connect one, and try again."],
  "E_BUSY": ["{what} is in use by {owner}.",
    "Wait for it to finish, or close the other tab, and try again."],
  "E_DEVICE_LOST": ["The GPU device was lost ({reason}).",
    "Load the model again; close other heavy tabs if it repeats."],
  "E_NO_ANSWER": ["{what} has not answered for {seconds} seconds, so it was stopped.",
    "Load the model again; if it repeats, restart the browser or choose a smaller model."],
  "E_QUOTA": ["This browser's storage is full: needs {needed} bytes, {available} are free.",
    "Delete a model or free disk space, then try again."],
  "E_CORRUPT_SHARD": ["{file} is damaged: {detail}.", "Delete this file and fetch it again."],
  "E_BAD_AUDIO": ["The audio cannot be read: {detail}.",
    "Send a recording of speech; the command line takes WAV files, the browser what it plays."],
  "E_BAD_FILE": ["{file} is not a valid {format} file: {detail}.",
    "Check where the file came from and fetch it again."],
  "E_NOT_STORED": ["{model} is not whole in this browser's storage: {detail}.",
    "Download it, or resume its download."],
  "E_TRUNCATED": ["{file} ends too early: wanted bytes {start} to {end}, it has {size}.",
    "The file is incomplete; fetch it again."],
  "E_UNSUPPORTED_TENSOR": ["Tensor '{tensor}' is not supported: {detail}.", "Choose a file in a supported encoding."],
  "E_NETWORK": ["{url} could not be fetched: {detail}.",
    "Check the connection and the address, and try again."],
  "E_BAD_REQUEST": ["Parameter '{param}' is {got}; wanted {wanted}.",
    "Correct the request and send it again."],
  "E_NO_ENGINE": ["No open page of {app} has a model loaded.",
    "Open it in a tab and start a model, or call createEngine in a page; then ask again."],
  "E_NO_ROUTE": ["{method} {path} is not part of the API.",
    "Use GET v1/models, POST v1/chat/completions, v1/completions, v1/audio/speech and v1/audio/transcriptions."],
  "E_TOO_LARGE": ["The request's body is larger than {limit} bytes.",
    "Send less: no context holds that much."],
  "E_UNKNOWN_MODEL": ["The model {model} is not loaded here; {loaded} is.",
    "Ask for the loaded model, or load this one first (createEngine or the Models page)."],
  "E_INTERNAL": ["Something failed inside Jird: {detail}.",
    "Reload the page; report it if it repeats."],
};

/** HTTP status of the codes that are about the request or can be waited for; others are 500. */
const STATUS = {
  E_BAD_REQUEST: 400, E_BAD_AUDIO: 400, E_CONTEXT_FULL: 400, E_NO_TOKENIZER: 400, E_BAD_TEMPLATE: 400,
  E_UNKNOWN_MODEL: 404, E_NO_ROUTE: 404, E_BUSY: 409, E_TOO_LARGE: 413, E_NO_ENGINE: 503,
  E_DEVICE_LOST: 503,
  E_NO_ANSWER: 503,
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

  /** The HTTP status that OpenAI's API would answer with. */
  get status() {
    return this.facts.status ?? STATUS[this.code] ?? 500;
  }

  /** OpenAI's class of errors. */
  get type() {
    return this.status < 500 ? "invalid_request_error" : "server_error";
  }

  /** The parameter that is wrong, or null. */
  get param() {
    return this.facts.param ?? (this.code === "E_UNKNOWN_MODEL" ? "model" : null);
  }

  /** OpenAI's `error` object; `next_step` is ours. */
  get error() {
    const { message, type, param, code, next_step } = this;
    return { message, type, param, code, next_step };
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
