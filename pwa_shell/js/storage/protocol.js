/**
 * The closed union of messages between the storage worker and its users (a page, the engine's worker by a port), version 1:
 *
 *     -> worker   {v: 1, id, method, params}
 *     <- worker   {v: 1, id, event: "progress" | "result" | "error", data}       error.data is {code, message, next_step, facts}
 *     <- worker   {v: 1, id: null, event: "changed", data: {}}                   what is stored changed: list() again
 *     <- worker   {v: 1, id: null, event: "activity", data}                      `progress` of any model, of every tab's worker
 *
 *     method            params                                        result
 *     info              {}                                            {backend, durable, refused, models_bytes, usage, quota,
 *                                                                    persisted, details}
 *     list              {}                                            [{id, name, license, source, state, busy, bytes,
 *                                                                    bytes_done, created, files: [{name, bytes, bytes_done}]}]
 *                                                                    state: "complete" | "partial" | "paused" | "damaged" | "broken"
 *     resolve           {model, revision, file, token, base}          spec of a hub repository, or of the address of a .gguf or of
 *                                                                    a folder (ends in "/") of any site
 *     download          {spec | {id}, changed, token, options}        row of `list`, state "complete" | "paused" | "cancelled";
 *                                                                    files named in `changed` are fetched anew
 *     changed           {id}                                          {files: names of those that are others at the source now}
 *     pause, cancel     {id}                                          {}
 *     verify            {id}                                          {id, ok, bad: [{file, chunk}]}
 *     delete            {id}                                          {}
 *     import            {id, name, files: [{name, file: File}]}       row of `list`
 *     open              {id}                                          {handle, files: [{name, size, identity}]}
 *     read              {handle, name, offset, length}                {bytes: ArrayBuffer}, transferred
 *     close             {handle}                                      {}
 *     foreign           {}                                            [{kind: "cache" | "database" | "folder", name, bytes}]
 *     clear_foreign     {items: [{kind, name}]}                       what is left, as `foreign`
 *     connect           {port: MessagePort}, transferred              {connection}: the port speaks the same messages
 *     disconnect        {connection}                                  {}: what that port began is aborted, what it opened closed
 *     abort             {target: id}                                  {}: ends that call; a download is paused
 *
 * `progress` data: {id, stage: "download" | "verify" | "import", bytes_done, bytes_total, rate (bytes/s), eta_s, fetched}.
 * `token`: {value, origin}, sent to that origin only and never stored. `options`: {parallel, tries, backoff_ms, stall_ms}.
 */
import { jirdError } from "../errors.js";

export const VERSION = 1;
export const METHODS = ["info", "list", "resolve", "download", "changed", "pause", "cancel", "verify", "delete", "import", "open", "read",
  "close", "foreign", "clear_foreign", "connect", "disconnect", "abort"];
export const EVENTS = ["progress", "result", "error", "changed", "activity"];

export function request(id, method, params = {}) {
  if (!METHODS.includes(method)) {
    throw jirdError("E_BAD_REQUEST", { param: "method", got: String(method), wanted: METHODS.join(", ") });
  }
  return { v: VERSION, id, method, params };
}

export function event(id, name, data) {
  if (!EVENTS.includes(name)) throw new TypeError(`event ${name} is not one of ${EVENTS}`);
  return { v: VERSION, id, event: name, data };
}

export function isRequest(message) {
  return message?.v === VERSION && message.id !== undefined && METHODS.includes(message.method);
}

export function isEvent(message) {
  return message?.v === VERSION && EVENTS.includes(message.event);
}
