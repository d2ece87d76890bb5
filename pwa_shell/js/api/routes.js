/** The API's routes, and what is wrong with a request before any engine sees it. */
import { jirdError } from "../errors.js";
import { MAX_BODY } from "./protocol.js";

const POSTS = { "chat/completions": "chat", completions: "complete", "audio/speech": "speech",
  "audio/transcriptions": "transcribe" };
const MOST_AUDIO = 256 * 2 ** 20;

/**
 * @param {string} method
 * @param {string} path what follows `v1/`
 * @returns {{route: "chat"|"complete"|"speech"|"transcribe"|"models"|"model", name?: string}}
 */
export function routeOf(method, path) {
  const plain = path.replace(/\/$/, "");
  if (method === "POST" && Object.hasOwn(POSTS, plain)) return { route: POSTS[plain] };
  if (method === "GET" && plain === "models") return { route: "models" };
  if (method === "GET" && plain.startsWith("models/")) {
    return { route: "model", name: decode(plain.slice("models/".length)) };
  }
  const status = plain === "models" || Object.hasOwn(POSTS, plain) ? 405 : 404;
  throw jirdError("E_NO_ROUTE", { method, path: `v1/${plain.slice(0, 80)}`, status });
}

function decode(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text; // it names no model then
  }
}

/** The JSON object that a request carries. Throws E_TOO_LARGE, E_BAD_REQUEST. */
export async function bodyOf(request) {
  return checkBody(parse(await textOf(request)));
}

/**
 * The fields of a multipart form that carries a recording; `file` is {name, type, bytes}, which can be
 * posted. Throws E_TOO_LARGE, E_BAD_REQUEST.
 */
export async function formOf(request) {
  if (Number(request.headers.get("content-length") ?? 0) > MOST_AUDIO) throw tooLarge(MOST_AUDIO);
  let form;
  try {
    form = await request.formData();
  } catch {
    const got = request.headers.get("content-type") ?? "no type";
    throw jirdError("E_BAD_REQUEST", { param: "body", got, wanted: "multipart/form-data with a file" });
  }
  const file = form.get("file");
  if (!(file instanceof Blob)) {
    throw jirdError("E_BAD_REQUEST", { param: "file", got: file === null ? "missing" : "text", wanted: "a file" });
  }
  if (file.size > MOST_AUDIO) throw tooLarge(MOST_AUDIO);
  const body = { file: { name: file.name, type: file.type, bytes: await file.arrayBuffer() } };
  for (const name of new Set(form.keys())) {
    if (name !== "file") body[name.replace(/\[\]$/, "")] = fieldOf(name, form.getAll(name));
  }
  return body;
}

/** A form holds text only: lists end in [], and these two are not text. */
function fieldOf(name, values) {
  if (name.endsWith("[]") || name === "timestamp_granularities") return values;
  const [value] = values;
  if (name === "stream") return value === "true" ? true : value === "false" ? false : value;
  return name === "temperature" && value.trim() !== "" && Number.isFinite(Number(value)) ? Number(value) : value;
}

/** `body` where it is an object. Throws E_BAD_REQUEST. */
export function checkBody(body) {
  if (typeof body === "object" && body !== null && !Array.isArray(body)) return body;
  const got = Array.isArray(body) ? "a list" : JSON.stringify(body)?.slice(0, 40) ?? typeof body;
  throw jirdError("E_BAD_REQUEST", { param: "body", got, wanted: "a JSON object" });
}

function parse(text) {
  try {
    return JSON.parse(text);
  } catch (error) {
    const got = text ? `no JSON (${error.message})` : "empty";
    throw jirdError("E_BAD_REQUEST", { param: "body", got, wanted: "a JSON object" });
  }
}

/** The body as text, read no further than what is allowed. */
async function textOf(request) {
  const reader = request.body?.getReader();
  if (!reader) return checkLength(await request.text()); // WebKit has no streams of request bodies
  const parts = [];
  let bytes = 0;
  for (let part = await reader.read(); !part.done; part = await reader.read()) {
    parts.push(part.value);
    if ((bytes += part.value.length) > MAX_BODY) {
      reader.cancel().catch(() => {});
      throw tooLarge();
    }
  }
  return new TextDecoder().decode(await new Blob(parts).arrayBuffer());
}

function checkLength(text) {
  if (text.length > MAX_BODY) throw tooLarge();
  return text;
}

const tooLarge = (limit = MAX_BODY) => jirdError("E_TOO_LARGE", { limit });
