/**
 * Two timestamps around a compute pass, where the device has "timestamp-query". Browsers may round
 * them (Chromium: to 100 us), so a pass has to be long for its time to mean something.
 */
const NBYTES = 16;

export class GpuTimer {
  #queries; #resolved; #readback;

  constructor(device) {
    this.#queries = device.createQuerySet({ type: "timestamp", count: 2 });
    const { QUERY_RESOLVE, COPY_SRC, COPY_DST, MAP_READ } = GPUBufferUsage;
    this.#resolved = device.createBuffer({ size: NBYTES, usage: QUERY_RESOLVE | COPY_SRC });
    this.#readback = device.createBuffer({ size: NBYTES, usage: MAP_READ | COPY_DST });
  }

  /** How many buffers it holds. */
  get buffers() {
    return 2;
  }

  /** What `beginComputePass` takes. */
  get pass() {
    return { timestampWrites: { querySet: this.#queries, beginningOfPassWriteIndex: 0, endOfPassWriteIndex: 1 } };
  }

  /** Copies what the pass wrote; before `finish()`. */
  resolve(encoder) {
    encoder.resolveQuerySet(this.#queries, 0, 2, this.#resolved, 0);
    encoder.copyBufferToBuffer(this.#resolved, 0, this.#readback, 0, NBYTES);
  }

  /** Seconds of the pass, once it was submitted. */
  async seconds() {
    await this.#readback.mapAsync(GPUMapMode.READ);
    const [begin, end] = new BigUint64Array(this.#readback.getMappedRange().slice());
    this.#readback.unmap();
    return Number(end - begin) * 1e-9;
  }

  destroy() {
    this.#queries.destroy();
    this.#resolved.destroy();
    this.#readback.destroy();
  }
}
