/** Faults of a browser, by name; `fault=NAME:N` gives a number. */
const [fault, n] = (new URL(self.location.href).searchParams.get("fault") ?? "").split(":");
const files = FileSystemFileHandle.prototype;
const realSync = files.createSyncAccessHandle;
const error = (name) => new DOMException(`caused by a test`, name);
let count = 0;

const FAULTS = {
  /** Sync handles are offered and refused. */
  "no-sync"() {
    files.createSyncAccessHandle = () => Promise.reject(error("SecurityError"));
  },
  "no-opfs"() {
    StorageManager.prototype.getDirectory = () => Promise.reject(error("SecurityError"));
  },
  "no-storage"() {
    FAULTS["no-opfs"]();
    IDBFactory.prototype.open = () => {
      throw error("SecurityError");
    };
  },
  /** The first N sync handles of model files are held by another; without N all of them, always. */
  busy() {
    files.createSyncAccessHandle = function () {
      return this.name.startsWith("model") && (!n || ++count <= Number(n))
        ? Promise.reject(error("NoModificationAllowedError")) : realSync.call(this);
    };
  },
  /** Each handle is closed by the browser just before its Nth write or flush. */
  stale() {
    const uses = new WeakMap();
    for (const method of ["write", "flush"]) {
      const real = FileSystemSyncAccessHandle.prototype[method];
      FileSystemSyncAccessHandle.prototype[method] = function (...args) {
        uses.set(this, (uses.get(this) ?? 0) + 1);
        if (uses.get(this) === Number(n)) this.close();
        return real.apply(this, args);
      };
    }
  },
  /** A disk that takes only part of what it is given, after N writes. */
  "short-write"() {
    const real = FileSystemSyncAccessHandle.prototype.write;
    FileSystemSyncAccessHandle.prototype.write = function (bytes, options) {
      const full = bytes.length > 1e6 && ++count > Number(n);
      return real.call(this, full ? bytes.subarray(0, 1000) : bytes, options);
    };
  },
  /** N bytes may be stored, of which 5 MB are used. */
  quota() {
    StorageManager.prototype.estimate = async () => ({ usage: 5e6, quota: Number(n) });
  },
  insecure() {
    Object.defineProperty(self, "isSecureContext", { value: false });
  },
  /** The wall clock jumps by a year, to and fro, at each look. */
  clock() {
    const real = Date.now;
    Date.now = () => real() + (count++ % 2 ? -1 : 1) * 365 * 86400e3;
  },
};

FAULTS[fault]?.();
