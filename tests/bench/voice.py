"""Speaks with models of the published sizes and random weights, for timing where no real ones are to be had: JSON of what came when.

    python3 tests/bench/voice.py [FOLDER] [--text T] [--device native] [--second]

The voice has Kani-TTS's shape (LFM2 of 350 million parameters, 80,539 ids) in MLX's 4 bits, 220 MB; the codec is tests/bench/codec.py's.
`--second` adds what Kani-TTS 2 has, and speaks as a speaker's vector. Noise never ends by itself: each sentence takes the tokens that its length allows. The tokenizer is a small one of the tests.
"""
import argparse
import asyncio
import gzip
import json
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
from app.speech import load_speaker  # noqa: E402  the tree is no package of its own
from app.session import tokenizer_of  # noqa: E402
from pyengine.formats.checkpoint import open_path  # noqa: E402
from tests.bench import codec as codec_bench  # noqa: E402
from tests.bench.random_qwen3_5 import BITS, GROUP, Tensor, bf16, matrix, vector, write_shard  # noqa: E402

CONFIG = ROOT / "tests" / "goldens" / "configs" / "lfm2.5-350m.json"
TOKENIZER = ROOT / "tests" / "goldens" / "text" / "bytelevel_bpe_qwen.tokenizer.json.gz"
VOCAB = 80539
WIDTH = 4608     # of w1: two thirds of the config's 6,656, rounded up
TEXT = "It was the best of times, it was the worst of times."


SECOND = {"audio_step": 1.0, "use_learnable_rope": True, "speaker_emb_dim": 128}


def added(c):
    """Kani-TTS 2's tensors: an alpha of each attention layer, and the projection of its speakers."""
    yield Tensor("model.speaker_emb_projection.weight", "BF16", [c["hidden_size"], 128], bf16(0.01))
    for i, kind in enumerate(c["layer_types"]):
        if kind != "conv":
            yield Tensor(f"model.learnable_rope_layers.{i}.alpha_weight", "BF16", [], bf16(0.1))


def tensors(c):
    hidden, head = c["hidden_size"], c["hidden_size"] // c["num_attention_heads"]
    yield from matrix("model.embed_tokens", VOCAB, hidden)
    for i, kind in enumerate(c["layer_types"]):
        layer = f"model.layers.{i}."
        if kind == "conv":
            yield from matrix(layer + "conv.in_proj", 3 * hidden, hidden)
            yield from matrix(layer + "conv.out_proj", hidden, hidden)
            yield Tensor(layer + "conv.conv.weight", "BF16", [hidden, c["conv_L_cache"], 1], bf16(0.5))
        else:
            kv = c["num_key_value_heads"] * head
            for part, rows in (("q_proj", hidden), ("k_proj", kv), ("v_proj", kv), ("out_proj", hidden)):
                yield from matrix(f"{layer}self_attn.{part}", rows, hidden)
            for part in "qk":
                yield vector(f"{layer}self_attn.{part}_layernorm.weight", head)
        for part, rows, columns in (("w1", WIDTH, hidden), ("w3", WIDTH, hidden), ("w2", hidden, WIDTH)):
            yield from matrix(f"{layer}feed_forward.{part}", rows, columns)
        for part in ("operator_norm", "ffn_norm"):
            yield vector(f"{layer}{part}.weight", hidden)
    yield vector("model.embedding_norm.weight", hidden)


def write_voice(folder, second=False):
    """-> bytes of all tensors."""
    folder.mkdir(parents=True, exist_ok=True)
    quantization = {"group_size": GROUP, "bits": BITS, "mode": "affine"}
    config = json.loads(CONFIG.read_text())
    more = added(config) if second else ()
    total = write_shard(folder / "model.safetensors", [*tensors(config), *more])
    config |= {"vocab_size": VOCAB, "quantization": quantization,
               "quantization_config": quantization, **(SECOND if second else {})}
    (folder / "tokenizer.json").write_bytes(gzip.decompress(TOKENIZER.read_bytes()))
    (folder / "config.json").write_text(json.dumps(config))
    return total


async def speak(voice, codec, text, name, second):
    device = await codec_bench.open_device(name)
    checkpoint = await open_path(str(voice))
    speaker = await load_speaker(checkpoint, await open_path(str(codec)), device, context=2048,
                                 tokenizer=tokenizer_of(checkpoint, str(voice)))
    reports = []
    for _ in range(2):
        heard = [piece async for piece in speaker.speak(
            text, sampling={"seed": 1}, speaker=[0.1] * 128 if second else None)]
        stats = speaker.stats()
        reports.append({"chunks": len(heard), **{key: value for key, value in stats.items()
                                                 if key not in ("engine", "codec_bytes")}})
    engine = stats["engine"]
    answer = {"device": device.info, "first_run": reports[0], "second_run": reports[1],
              "decode_tps": engine["decode_tps"], "bytes": engine["bytes"], "codec_bytes": stats["codec_bytes"]}
    await speaker.close()
    device.close()
    return answer


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", nargs="?", type=Path, default=Path(tempfile.gettempdir(), "jird-random-voice"))
    parser.add_argument("--text", default=TEXT)
    parser.add_argument("--device", choices=("native", "numpy"), default="native")
    parser.add_argument("--second", action="store_true")
    args = parser.parse_args()
    voice = args.folder / ("voice-2" if args.second else "voice")
    codec = args.folder / "codec"
    if not (voice / "config.json").exists():
        print(f"{write_voice(voice, args.second):,} bytes written to {voice}", file=sys.stderr)
    if not (codec / "config.json").exists():
        codec_bench.write_random(codec)
    print(json.dumps(asyncio.run(speak(voice, codec, args.text, args.device, args.second)), indent=1))


if __name__ == "__main__":
    main()
