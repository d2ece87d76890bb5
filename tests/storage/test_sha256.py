"""The streaming SHA-256 against Python's, over sizes around its blocks."""

import hashlib

SIZES = [0, 1, 7, 55, 56, 63, 64, 65, 83, 119, 120, 128, 769, 100_003]
RUN = """async (sizes) => {
  const { Sha256 } = await import("/js/storage/sha256.js");
  const { bytes } = await import("/_test/pages.js");
  return sizes.map((size) => {
    const all = bytes(size, size), hash = new Sha256();
    for (let at = 0, step = 1; at < size; at += step, step = (step * 7 + 3) % 211) {
      hash.update(all.subarray(at, at + step));
    }
    return hash.hex();
  });
}"""


def pattern(size, seed):
    """The bytes that pages.js makes of a seed."""
    out, state = bytearray(size), seed
    for i in range(size):
        state = (state * 1664525 + 1013904223) & 0xFFFFFFFF
        out[i] = state >> 24
    return bytes(out)


def test_streaming_digest(lab):
    got = lab.open().run(RUN, SIZES)
    assert got == [hashlib.sha256(pattern(size, size)).hexdigest() for size in SIZES]
