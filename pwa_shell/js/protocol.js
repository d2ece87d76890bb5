/**
 * The closed union of messages between page and worker, version 1; the twin of app/protocol.py,
 * which describes it.
 */
import { jirdError } from "./errors.js";

export const VERSION = 1;
export const METHODS = ["load", "chat", "complete", "speak", "transcribe", "stats", "profile", "selftest", "catalog", "unload", "cancel"];
export const EVENTS = ["progress", "chunk", "result", "error"];
export const STAGES = ["boot", "download", "read", "upload", "compile", "warmup", "ready"];

/**
 * A page -> worker message, `audio` (Float32Array) beside it. Throws E_BAD_REQUEST for a method outside the union or params that JSON
 * cannot hold.
 */
export function request(id, method, params = {}, audio = undefined) {
  if (!METHODS.includes(method)) {
    throw jirdError("E_BAD_REQUEST", { param: "method", got: String(method),
      wanted: METHODS.join(", ") });
  }
  return { v: VERSION, id, method, params: jsonable(params, "params"), ...(audio && { audio }) };
}

/** A worker -> page message; `audio` may lie beside it, a Float32Array of samples. */
export function event(id, name, data) {
  if (!EVENTS.includes(name)) throw new TypeError(`event ${name} is not one of ${EVENTS}`);
  return { v: VERSION, id, event: name, data };
}

/** Whether `message` is a worker -> page message of this version. */
export function isEvent(message) {
  return message?.v === VERSION && typeof message.id === "string" && EVENTS.includes(message.event);
}

/**
 * A copy of `value` as JSON means it: undefined members are dropped; anything JSON would change is
 * refused by name.
 */
function jsonable(value, path, depth = 0) {
  if (value === null || typeof value === "string" || typeof value === "boolean") return value;
  if (typeof value === "number" && Number.isFinite(value)) return value;
  const plain = typeof value === "object" && [Object.prototype,
    null].includes(Object.getPrototypeOf(value));
  if (depth < 64 && Array.isArray(value)) return value.map((v, i) => jsonable(v, `${path}[${i}]`,
    depth + 1));
  if (depth < 64 && plain) {
    const copy = {};
    for (const [key, member] of Object.entries(value)) {
      if (member !== undefined) copy[key] = jsonable(member, path === "params" ? key
        : `${path}.${key}`, depth + 1);
    }
    return copy;
  }
  const got = typeof value === "number" ? String(value)
    : `a value of type ${value?.constructor?.name ?? typeof value}`;
  throw jirdError("E_BAD_REQUEST", { param: path, got,
    wanted: "plain JSON: text, finite numbers, lists and objects" });
}
