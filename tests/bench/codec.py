"""How fast NanoCodec's decoder makes speech, as JSON: seconds of audio per second for programs of several numbers of frames.

    python3 tests/bench/codec.py [FOLDER] [--frames 64] [--repeats 3] [--device native]

FOLDER is a checkpoint; where it is missing, one of the published size is written there with random weights (31.5 million parameters,
126 MB; weights do not change the time). Frames are decoded through each program alone, as they would come, and read back.
"""
import argparse
import asyncio
import json
import math
import random
import statistics
import struct
import sys
import tempfile
import time
from array import array
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
from pyengine.audio.codec import BUCKETS, load_codec  # noqa: E402  the tree is no package of its own
from pyengine.formats.checkpoint import open_path  # noqa: E402
from pyengine.models.nanocodec import Config, Decoder  # noqa: E402

CONFIG = {
    "model_type": "nanocodec", "sample_rate": 22050,
    "decoder_config": {"input_dim": 16, "base_channels": 864, "up_sample_rates": [7, 7, 6, 3, 2], "activation": "half_snake",
                       "output_activation": "clamp", "pad_mode": "zeros"},
    "quantizer_config": {"num_groups": 4, "num_levels_per_group": [9, 8, 8, 7]},
}


def shapes(cfg):
    """{tensor: shape} of a decoder without weight norms."""
    found = {}
    for name, out, channels, taps in Decoder(cfg, None)._shapes():
        up = taps is None
        found[name + ".weight"] = (channels, 1, 2 * out) if up else (out, channels, taps)
        found[name + ".bias"] = (channels // 2,) if up else (out,)
        if up:
            layer = name.split(".")[2]
            found[f"audio_decoder.activations.{layer}.activation.snake_act.alpha"] = (1, channels // 2, 1)
        elif "res_blocks" in name:
            part = name.removesuffix("_conv.conv") + "_activation"
            found[part + ".activation.snake_act.alpha"] = (1, channels // 2, 1)
        elif "post_conv" in name:
            found["audio_decoder.post_activation.activation.snake_act.alpha"] = (1, channels // 2, 1)
    return found


def write_random(folder, config=CONFIG, seed=8):
    """A checkpoint of random weights whose activations neither vanish nor overflow."""
    rng, header, at, parts = random.Random(seed), {}, 0, []
    noise = array("f", (rng.gauss(0, 1) for _ in range(1 << 16)))
    for name, shape in shapes(Config.from_hf(config)).items():
        count = math.prod(shape)
        if name.endswith("alpha"):
            values = array("f", [1.0]) * count
        else:
            size = 0.3 / math.sqrt(math.prod(shape[1:]) or 1)
            first = rng.randrange(len(noise))
            values = array("f", (size * noise[(first + i) % len(noise)] for i in range(count)))
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [at, at + 4 * count]}
        at += 4 * count
        parts.append(values)
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(folder / "model.safetensors", "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for values in parts:
            values.tofile(file)
    (folder / "config.json").write_text(json.dumps(config))
    return sum(len(values) for values in parts)


async def open_device(name):
    if name == "numpy":
        from pyengine.device.numpy_ref import NumpyDevice
        return NumpyDevice()
    from pyengine.device.native import NativeDevice
    return await NativeDevice.create()


async def measure(folder, frames, repeats, name):
    device = await open_device(name)
    checkpoint = await open_path(str(folder))
    began = time.perf_counter()
    codec = await load_codec(checkpoint, device, buckets=tuple(size for size in BUCKETS if size <= frames))
    report = {"device": device.info, "load_s": time.perf_counter() - began, "dispatches": codec.dispatches(),
              "bytes": codec.bytes_needed(), "times_real_time": {}, "ms_per_run": {}}
    rng = random.Random(1)
    codes = [[rng.randrange(codec.config.codebook) for _ in range(codec.config.groups)] for _ in range(frames)]
    for bucket in (size for size in BUCKETS if size <= frames):
        runs = frames // bucket
        await codec.decode(codes[:bucket])
        took = []
        for _ in range(repeats):
            codec.reset()
            began = time.perf_counter()
            for run in range(runs):
                await codec.decode(codes[run * bucket:(run + 1) * bucket])
            took.append(time.perf_counter() - began)
        seconds = statistics.median(took)
        audio = runs * bucket * codec.config.frame / codec.sample_rate
        report["times_real_time"][bucket] = round(audio / seconds, 3)
        report["ms_per_run"][bucket] = round(1e3 * seconds / runs, 3)
    codec.close()
    device.close()
    return report


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", nargs="?", type=Path, default=Path(tempfile.gettempdir(), "jird-random-nanocodec"))
    parser.add_argument("--frames", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device", choices=("native", "numpy"), default="native")
    args = parser.parse_args()
    if not (args.folder / "config.json").exists():
        print(f"{write_random(args.folder):,} parameters written to {args.folder}", file=sys.stderr)
    print(json.dumps(asyncio.run(measure(args.folder, args.frames, args.repeats, args.device)), indent=1))


if __name__ == "__main__":
    main()
