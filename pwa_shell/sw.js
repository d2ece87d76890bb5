/**
 * The service worker: keeps the versioned shell, Pyodide and its wheels, so that the page starts
 * without a network. The build bundles this file and puts the list of files, each with its SHA-256,
 * in the place of `self.__WB_MANIFEST`. Models are not in it: the storage Worker keeps those. It
 * also answers the API's addresses under `v1/`, through a page that has an engine.
 */
import { setCacheNameDetails } from "workbox-core/setCacheNameDetails.js";
import { PrecacheController } from "workbox-precaching/PrecacheController.js";
import { PrecacheRoute } from "workbox-precaching/PrecacheRoute.js";
import { registerRoute } from "workbox-routing/registerRoute.js";
import { CLAIM } from "./js/api/protocol.js";
import { ApiRelay } from "./js/api/relay.js";

const PREFIX = "jird-shell";
const AT_ONCE = 6;
const { scope } = self.registration;

const api = (self.jirdApi = new ApiRelay(scope, self.clients)); // on self for leak tests

// Before Workbox's listener, which begins with its first route: none of this is ever kept.
self.addEventListener("fetch", (event) => {
  if (!api.covers(event.request.url)) return;
  event.stopImmediatePropagation();
  event.respondWith(api.respond(event));
});

setCacheNameDetails({ prefix: PREFIX, precache: "v1", suffix: scope });

/**
 * Workbox asks for every file past the HTTP cache; what the page has just fetched need only be
 * revalidated, as the digest decides anyway.
 */
const revalidate = {
  requestWillFetch: async ({ request, event }) =>
    event.type === "install" ? new Request(request, { cache: "no-cache" }) : request,
};

const shell = new PrecacheController({ plugins: [revalidate] });
shell.addToCacheList(self.__WB_MANIFEST);

// A range is part of a file: a whole one from the cache would be the wrong answer.
const shellRoute = new PrecacheRoute(shell, { cleanURLs: false, ignoreURLParametersMatching: [] });
registerRoute((details) => !details.request.headers.has("range") && shellRoute.match(details),
  shell.strategy);

/** The page itself under any query; other pages from the network, and without one the app's. */
const index = shell.createHandlerBoundToURL("./index.html");
registerRoute(({ request }) => request.mode === "navigate", (details) => {
  const { origin, pathname } = details.url;
  if (origin + pathname === scope) return index(details);
  return fetch(details.request).catch(() => Response.redirect(scope));
});

self.addEventListener("install", (event) => event.waitUntil(install(event)));

self.addEventListener("activate", (event) => {
  event.waitUntil(shell.activate(event).then(deleteOldCaches).then(() => self.clients.claim()));
});

// A new version waits until the page says so: see js/ui/updates.js.
self.addEventListener("message", (event) => {
  const { data } = event;
  if (data?.type === "SKIP_WAITING") self.skipWaiting();
  else if (data?.type === CLAIM) event.waitUntil(self.clients.claim());
  else if (data) api.heard(data);
});

/**
 * Workbox's own install keeps one file after the other: a hundred round trips, during which the
 * person may leave.
 */
async function install(event) {
  const left = [...shell.getURLsToCacheKeys()];
  const keepNext = async () => {
    for (let entry = left.shift(); entry; entry = left.shift()) {
      const [url, cacheKey] = entry;
      const integrity = shell.getIntegrityForCacheKey(cacheKey);
      const request = new Request(url, { integrity, credentials: "same-origin" });
      await Promise.all(shell.strategy.handleAll({ event, request, params: { cacheKey } }));
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, keepNext));
}

/** Caches of this app's older forms; another app's, or this one's under another path, stay. */
async function deleteOldCaches() {
  const names = await caches.keys();
  const old = names.filter((name) => name.startsWith(`${PREFIX}-`) && name.endsWith(`-${scope}`)
    && name !== shell.strategy.cacheName);
  await Promise.all(old.map((name) => caches.delete(name)));
}
