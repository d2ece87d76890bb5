"""Hard texts for tokenizers (goldens/text/corpus.json), and a long mix of them from a seed."""

import json
import random
from pathlib import Path

CORPUS = Path(__file__).parents[1] / "goldens" / "text" / "corpus.json"
TEXTS = json.loads(CORPUS.read_text())


def long_mix(size, seed=7):
    """About `size` characters of shuffled slices of the texts above and random code points."""
    random_ = random.Random(seed)
    texts = list(TEXTS.values())[1:]
    pieces, length = [], 0
    while length < size:
        text = random_.choice(texts)
        start = random_.randrange(len(text))
        piece = text[start : start + random_.choice((1, 7, 83))]
        if random_.random() < 0.1:
            piece += chr(
                random_.choice(
                    (random_.randrange(0x20, 0xD800), random_.randrange(0xE000, 0x30000))
                )
            )
        pieces.append(piece)
        length += len(piece)
    return "".join(pieces)
