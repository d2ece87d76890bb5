"""Log probabilities of produced ids: what a burst's ring of them says. Plain Python: the first
token must not wait for numpy's import."""
import struct
from dataclasses import dataclass

from pyengine.decode.state import NO_ID

KEEP = 20               # likeliest ids of each step, as many as OpenAI's API allows
ENTRY = 2 + 2 * KEEP    # u32 words: id, log probability, then the likeliest ids, each with its own
MOST = KEEP


@dataclass(frozen=True)
class Logprob:
    """An id, its natural log probability under the model's own logits, and the likeliest ids at its
    place: `top` is ((id, log probability), ...) in falling order."""
    id: int
    logprob: float
    top: tuple


def unpack(data, steps, top):
    """The first `steps` entries of the ring's bytes, each with its `top` likeliest ids."""
    found = []
    for step in range(steps):
        words = struct.unpack_from("<If" + "If" * KEEP, data, 4 * ENTRY * step)
        pairs = zip(words[2::2], words[3::2])
        kept = tuple((i, value) for i, value in list(pairs)[:top] if i != NO_ID)
        found.append(Logprob(words[0], words[1], kept))
    return found
