/**
 * The storage worker: the only one that touches the models' files. Messages: js/storage/protocol.js; users: js/storage/client.js.
 * `?backend=NAME` tries that back end first (js/storage/backends.js), for tests and for finding faults.
 */
import { jirdError } from "./js/errors.js";
import { reportRequests } from "./js/request_log.js";
import { BACKENDS } from "./js/storage/backends.js";
import { Library } from "./js/storage/library.js";
import { Server } from "./js/storage/server.js";

reportRequests("storage");

const asked = new URL(self.location.href).searchParams.get("backend");
const names = Object.keys(BACKENDS);
const backends = names.includes(asked) ? [asked, ...names.filter((name) => name !== asked)] : names;

const library = self.isSecureContext
  ? Library.create({ backends, onChange: () => server.changed(), onActivity: (state) => server.activity(state) })
  : Promise.reject(jirdError("E_INSECURE_CONTEXT", { url: self.location.origin }));
library.catch(() => {}); // each call reports it

const server = new Server(library);
server.serve(self);
