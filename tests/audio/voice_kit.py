"""A tiny voice: LFM2 with random weights and a vocabulary of text and audio tokens, and the tiny
codec."""
import asyncio
import gzip
import json
import shutil

import numpy as np

from app.speech import load_speaker
from pyengine.formats.checkpoint import open_path
from tests.checkpoints import encoded
from tests.formats.safetensors_writer import safetensors

BASE, CODEBOOK, GROUPS = 700, 4032, 4   # text ids, and what the tiny codec has
AUDIO = BASE + 10
VOCAB = AUDIO + GROUPS * CODEBOOK
END = BASE + 2


class Bytes:
    """A tokenizer: the first token, then a token a byte."""

    def encode(self, text, add_special_tokens):
        return [1] * add_special_tokens + [10 + byte for byte in text.encode()]


# what makes a Kani-TTS 2 of it, and the tensors that it has besides
KANI_2 = {"audio_step": 0.5, "use_learnable_rope": True, "speaker_emb_dim": 10}
ADDED = {"model.learnable_rope_layers.2.alpha_weight": (), "model.speaker_emb_projection.weight": (64, 10)}


def _tensors(goldens, vocab, rng, added):
    raw = (goldens / "models-tiny" / "lfm2" / "model.safetensors").read_bytes()
    header = json.loads(raw[8:8 + int.from_bytes(raw[:8], "little")])
    for name, entry in header.items():
        if name != "__metadata__":
            shape = [vocab, entry["shape"][1]] if "embed_tokens" in name else entry["shape"]
            array = rng.normal(size=shape)
            gain = len(shape) == 1
            yield name, (1 + 0.1 * array if gain else array / np.sqrt(np.prod(shape[1:])))
    for name, shape in added.items():
        yield name, np.asarray(rng.normal(size=shape))


def write_voice(goldens, folder, vocab=VOCAB, **changes):
    """A Hugging Face folder of the tiny voice, with a tokenizer of 600 ids; -> `folder`."""
    folder.mkdir(exist_ok=True)
    config = json.loads((goldens / "models-tiny" / "lfm2" / "config.json").read_text())
    config |= {"vocab_size": vocab, "audio_tokens_start": AUDIO, **changes}
    added = ADDED if "speaker_emb_dim" in changes else {}
    tensors = _tensors(goldens, vocab, np.random.default_rng(5), added)
    data = {name: encoded(array.astype(np.float32), "F32") for name, array in tensors}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "model.safetensors").write_bytes(safetensors(data))
    packed = goldens / "text" / "bytelevel_bpe_qwen.tokenizer.json.gz"
    (folder / "tokenizer.json").write_bytes(gzip.decompress(packed.read_bytes()))
    return folder


def write_codec(goldens, folder):
    """A folder of the tiny codec."""
    return shutil.copytree(goldens / "nanocodec-tiny", folder)


def opened(voice, codec, device, **options):
    """The Speaker of two folders."""
    checkpoints = [asyncio.run(open_path(str(path))) for path in (voice, codec)]
    given = {"tokenizer": Bytes(), "quant": "keep", "context": 512} | options
    return asyncio.run(load_speaker(*checkpoints, device, **given))


def spoken(one, text, **options):
    """Every `Speech` of a text."""
    async def collect():
        return [piece async for piece in one.speak(text, **options)]
    return asyncio.run(collect())
