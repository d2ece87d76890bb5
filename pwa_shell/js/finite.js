/** Refuses weights' scales that are infinite or no numbers: every row they are in would be. */
import { coded } from "./gpu_open.js";

/** `pieces` of bytes `data` as in pyengine/plan/export.py; `finite`: {upload number: [tensor, bytes of a number, mask of its exponent]}. */
export function checkFinite(data, pieces, finite) {
  for (const { 3: start, 4: nbytes, 10: upload } of pieces) {
    if (upload < 0) continue;
    const [tensor, size, mask] = finite[upload];
    const view = new DataView(data.buffer, data.byteOffset + start, nbytes); // a copy would wait for the collector
    for (let at = 0; at < nbytes; at += size) {
      const bits = size === 2 ? view.getUint16(at, true) : view.getUint32(at, true);
      if ((bits & mask) === mask) {
        throw coded("E_UNSUPPORTED_TENSOR", { tensor, detail: "it has values that are infinite or no numbers" });
      }
    }
  }
}
