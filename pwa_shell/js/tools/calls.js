/**
 * Tool calls on the caller's side: putting their deltas together, running one, telling its result.
 */

/** A result that a model reads must leave room for its answer. */
const MAX_RESULT = 8000;
const LIMIT_MS = 10_000;

/** Puts the deltas of a stream together. */
export class CallCollector {
  /** @type {{id: string, name: string, arguments: string}[]} */
  calls = [];

  /** @param {any[]|undefined} deltas `choices[0].delta.tool_calls` */
  take(deltas) {
    for (const { index, id, function: part = {} } of deltas ?? []) {
      const call = (this.calls[index] ??= { id: "", name: "", arguments: "" });
      if (id) call.id = id;
      call.name += part.name ?? "";
      call.arguments += part.arguments ?? "";
    }
  }
}

/**
 * @typedef {{name: string, description?: string, parameters?: object, limitMs?: number,
 *   run: (args: any, options: {signal: AbortSignal}) => any}} Tool
 */

/** @param {Tool} tool @returns {object} as a request names it */
export function described({ name, description, parameters }) {
  return { type: "function", function: { name, description, parameters } };
}

/**
 * Run a call. A tool that throws, hangs or is not there gives the model an error to read.
 * @param {Map<string, Tool>} tools
 * @param {{name: string, arguments: string}} call
 * @param {AbortSignal} signal rejects the promise, the only way that it rejects
 * @returns {Promise<{ok: boolean, content: string}>}
 */
export async function runCall(tools, call, signal) {
  const tool = tools.get(call.name);
  if (!tool) {
    const known = [...tools.keys()].join(", ");
    return failed(`there is no function ${call.name}; there are: ${known}`);
  }
  let given;
  try {
    given = JSON.parse(call.arguments || "{}");
  } catch (error) {
    return failed(`the arguments are no JSON: ${error.message}`);
  }
  const ending = new AbortController();
  const end = () => ending.abort(signal.reason);
  signal.addEventListener("abort", end, { once: true });
  const limit = tool.limitMs ?? LIMIT_MS;
  let timer;
  const ended = new Promise((_, reject) => {
    const late = () => reject(new Error(`it took longer than ${limit / 1000} s and was ended`));
    timer = setTimeout(late, limit);
    ending.signal.addEventListener("abort", () => reject(signal.reason), { once: true });
  });
  try {
    signal.throwIfAborted();
    const work = (async () => tool.run(given, { signal: ending.signal }))();
    return { ok: true, content: text(await Promise.race([work, ended])) };
  } catch (error) {
    signal.throwIfAborted();
    return failed(error?.message ?? String(error));
  } finally {
    clearTimeout(timer);
    signal.removeEventListener("abort", end);
    ending.abort(); // what still runs hears that nobody waits
  }
}

/** @param {string} what @returns {{ok: false, content: string}} */
export function failed(what) {
  return { ok: false, content: cut(`Error: ${what}`) };
}

function text(value) {
  if (typeof value === "string") return cut(value);
  return cut(value === undefined ? "done" : (JSON.stringify(value) ?? String(value)));
}

function cut(result) {
  const whole = result.toWellFormed?.() ?? result;
  if (whole.length <= MAX_RESULT) return whole;
  const kept = whole.slice(0, MAX_RESULT).replace(/[\uD800-\uDBFF]$/, "");
  return `${kept}… (cut at ${MAX_RESULT} characters)`;
}

/** Arguments that cannot be read would make the next request a bad one. */
function whole(text) {
  try {
    return JSON.parse(text) instanceof Object ? text : "{}";
  } catch {
    return "{}";
  }
}

/** One round as messages: what was said with its calls, then their results. */
export function roundMessages(said, calls) {
  const tool_calls = calls.map((call) => ({
    id: call.id,
    type: "function",
    function: { name: call.name, arguments: whole(call.arguments) },
  }));
  const results = calls.map((call) => ({
    role: "tool",
    tool_call_id: call.id,
    name: call.name,
    content: call.result ?? "Error: it was not run",
  }));
  return [{ role: "assistant", content: said, tool_calls }, ...results];
}
