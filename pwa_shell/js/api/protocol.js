/**
 * What the service worker and a page that serves the API say to each other about one request.
 *
 *     worker -> every page  {type: ASK, scope} with a port, on which all else is said but the ticks
 *     page   -> worker      {kind: "none"} | {kind: "offer", models: [id | null]}
 *     worker -> page        {kind: "call", id, route, name, body} | {kind: "leave"}
 *     page   -> worker      {kind: "head", status, headers}, ({kind: "text", text} | {kind: "bytes", bytes})*,
 *                           {kind: "end"} | {kind: "fail"}
 *     worker -> page        {kind: "ping"}* | {kind: "abort"}
 *     page   -> worker      {type: TICK, id} for each ping, as a message to the worker itself: only
 *                           such an event keeps a browser from ending the worker, which streams
 */

export const ASK = "jird-api";
export const TICK = "jird-api-tick";
/** A page asks the worker to serve it. */
export const CLAIM = "jird-api-claim";

/** Where the API lies below the app's scope. */
export const ROOT = "v1/";
/** A page that has not answered by then serves nothing; one that works may take seconds, on a slow device. */
export const ASK_MS = 3000;
/** The worker asks this often; browsers end one that hears nothing for half a minute. */
export const PING_MS = 5000;
/** After this long without a word either side gives the other up. */
export const SILENCE_MS = 30_000;
/** More is refused unread: a million tokens are about four of these. */
export const MAX_BODY = 8 * 2 ** 20;
