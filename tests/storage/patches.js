/** The app's storage worker in a browser that misbehaves as `?fault=NAME` says: import order makes the patches come first. */
import "./patched_browser.js";
import "/storage_worker.js";
