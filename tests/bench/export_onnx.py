"""The int4 ONNX export of the benchmark's GGUF, as transformers.js reads it.

    python tests/bench/export_onnx.py model.gguf FOLDER [--dtype q4 q4f16 wasm_q4]

Needs numpy, safetensors, onnx, onnxruntime-genai, transformers and torch (the CPU is enough).
`build.py bench --make-onnx` makes a virtual environment with them in the cache and runs this.

The GGUF's weights are decoded to f32 and written as a Hugging Face folder; onnxruntime-genai's
builder quantises every matrix to int4 in blocks of 32 and fuses attention. `q4` computes in f32,
`q4f16` in f16; in both the embedding shares the head's int4 matrix, for which onnxruntime-web has
no kernel in WebAssembly, so that `wasm_q4` has it once more in f32. The head is pruned to the last
row, which saves transformers.js a readback of every prompt row's logits.
"""

import argparse
import asyncio
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
OPTIONS = ("int4_block_size=32", "prune_lm_head=true")
# transformers.js' names (after a `model_file_name` of "model_wasm"): the builder's options
DTYPES = {
    "q4": ("use_webgpu_fp32=1", "shared_embeddings=true"),
    "q4f16": ("shared_embeddings=true",),
    "wasm_q4": ("use_webgpu_fp32=1", "shared_embeddings=false"),
}
TEXTS = ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json")


def write_folder(gguf, folder):
    """Decodes a .gguf into a Hugging Face folder with f32 safetensors."""
    from safetensors.numpy import save_file

    from pyengine.formats.checkpoint import open_path
    from pyengine.text.gguf_tokenizer import tokenizer_json_from_gguf

    async def read():
        found = await open_path(gguf)
        raw = {
            name: await found.files[ref.file].read(ref.offset, ref.nbytes)
            for name, ref in found.tensors.items()
        }
        return found, raw

    checkpoint, raw = asyncio.run(read())
    config = checkpoint.config
    config.setdefault("architectures", ["LlamaForCausalLM"])
    arrays = {name: decoded(raw[name], ref, config) for name, ref in checkpoint.tensors.items()}
    folder.mkdir(parents=True, exist_ok=True)
    save_file(arrays, folder / "model.safetensors", metadata={"format": "pt"})
    tokenizer, tokenizer_config = tokenizer_json_from_gguf(checkpoint.metadata)
    ids = {k: v for k, v in config.items() if k.endswith("_token_id")}
    tokenizer_config |= {"tokenizer_class": "PreTrainedTokenizerFast"}
    texts = (config, ids, json.loads(tokenizer), tokenizer_config)
    for name, value in zip(TEXTS, texts, strict=True):
        (folder / name).write_text(json.dumps(value, ensure_ascii=False))


def decoded(raw, ref, config):
    """f32 array of a tensor, its q and k rows in Hugging Face's order."""
    from math import prod

    import numpy as np

    from pyengine.quant.blocks import dequantize, unpermute_rope

    array = dequantize(raw, ref.encoding, prod(ref.shape)).reshape(ref.shape)
    if ref.rope_interleaved:
        head = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
        array = unpermute_rope(array, head)
    return np.ascontiguousarray(array, np.float32)


def export(source, dtype, target, scratch):
    """Runs the builder and writes `onnx/model_<dtype>.onnx`, one file, into `target`."""
    import onnx

    out = scratch / dtype
    command = [
        sys.executable,
        "-m",
        "onnxruntime_genai.models.builder",
        "-i",
        str(source),
        "-o",
        str(out),
        "-p",
        "int4",
        "-e",
        "webgpu",
        "-c",
        str(scratch / "cache"),
        "--extra_options",
        *OPTIONS,
        *DTYPES[dtype],
    ]
    subprocess.run(command, check=True)
    (target / "onnx").mkdir(parents=True, exist_ok=True)
    model = onnx.load(out / "model.onnx")
    config = json.loads((source / "config.json").read_text())
    for value in (*model.graph.input, *model.graph.output):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param == "kv_cache_dim":  # transformers.js makes the empty cache from it
                dim.dim_value = config["head_dim"]
    onnx.save(model, target / "onnx" / f"model_{dtype}.onnx")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("gguf", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--dtype", nargs="+", default=list(DTYPES), choices=list(DTYPES))
    o = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    with tempfile.TemporaryDirectory() as scratch:
        scratch = Path(scratch)
        write_folder(o.gguf, scratch / "hf")
        for dtype in o.dtype:
            export(scratch / "hf", dtype, o.folder, scratch)
        for name in TEXTS:
            shutil.copyfile(scratch / "hf" / name, o.folder / name)


if __name__ == "__main__":
    main()
