"""Memory that went away with what failed: the failure is told, and nothing else."""

import hashlib

from tests.storage.test_sha256 import pattern

FAILING = """async (sizes) => {
  const { pieces } = await import("/js/storage/streams.js");
  const left = [...sizes], seen = [];
  const stream = new ReadableStream({ type: "bytes", pull(controller) {
    if (left.length) controller.enqueue(new Uint8Array(left.shift()));
    else controller.error(new DOMException("it was changed", "NotReadableError"));
  } });
  try {
    for await (const piece of pieces(stream)) seen.push(piece.length);
  } catch (error) {
    return [seen, error.name];
  }
}"""

# a thread that ends with the bytes it was given
NO_THREAD = """async (size) => {
  globalThis.Worker = class {
    postMessage(message, transfer) {
      structuredClone(message, { transfer });
      setTimeout(() => this.onerror({ message: "it is gone" }));
    }
  };
  const { hashAside } = await import("/js/storage/hasher.js");
  const { bytes } = await import("/_test/pages.js");
  const all = bytes(size, 7);
  return Promise.all([hashAside(all), hashAside(all), hashAside(all)]);
}"""


def test_a_stream_that_fails_says_why(lab):
    lab.open()
    assert lab.run(FAILING, [1, 769, 83]) == [[1, 769, 83], "NotReadableError"]
    assert lab.run(FAILING, []) == [[], "NotReadableError"]


def test_a_thread_that_ends_leaves_the_hashing_to_this_one(lab):
    size = (1 << 20) + 83
    got = lab.open().run(NO_THREAD, size)
    assert got == [hashlib.sha256(pattern(size, 7)).hexdigest()] * 3
