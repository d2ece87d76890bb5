/** SHA-256 beside the storage worker: {id, bytes: ArrayBuffer, length} -> {id, hex, bytes}, transferred both ways. */
import { sha256Hex } from "./sha256.js";

self.onmessage = async ({ data: { id, bytes, length } }) => {
  const hex = await sha256Hex(new Uint8Array(bytes, 0, length));
  self.postMessage({ id, hex, bytes }, [bytes]);
};
