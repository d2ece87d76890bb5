"""Loading 450 MB of 4-bit shards in Chromium: what it adds to the heaps of JavaScript and wasm."""

import gzip
import json
import shutil

import numpy as np
import pytest

from tests.e2e.heap import HeapWatch
from tests.formats.safetensors_writer import file_bytes

HEAP_LIMIT = 64 << 20
CONFIG = {
    "model_type": "llama", "hidden_act": "silu", "hidden_size": 2048, "intermediate_size": 8192,
    "num_hidden_layers": 12, "num_attention_heads": 16, "num_key_value_heads": 4, "head_dim": 128,
    "vocab_size": 49152, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": True,
    "max_position_embeddings": 2048, "torch_dtype": "bfloat16",
    "quantization": {"group_size": 64, "bits": 4, "mode": "affine"},
}
SHARDS = 3
START = """() => {
    globalThis.worker = new Worker("./engine_worker.js", { type: "module" });
    globalThis.heard = [];
    worker.onmessage = ({ data }) => heard.push(data);
    worker.postMessage({ v: 1, id: "idle", method: "unload", params: {} });
}"""
ANSWERED = "(id) => heard.find((m) => m.id === id && m.event !== 'progress')"


def matrices():
    """{module: (rows, columns)} of CONFIG."""
    found = {"model.embed_tokens": (49152, 2048)}
    for i in range(12):
        layer = f"model.layers.{i}."
        found |= {f"{layer}self_attn.{p}_proj": (rows, 2048)
                  for p, rows in (("q", 2048), ("k", 512), ("v", 512), ("o", 2048))}
        found |= {f"{layer}mlp.{p}_proj": (8192, 2048) for p in ("gate", "up")}
        found[layer + "mlp.down_proj"] = (2048, 8192)
    return found


def parts():
    """[(tensor, dtype, shape, fill)]; bf16 0x3b00 is a scale of 0.002, 0xbc80 a bias of -0.016."""
    gains = ["model.norm"] + [f"model.layers.{i}.{n}" for i in range(12)
                              for n in ("input_layernorm", "post_attention_layernorm")]
    found = [(name + ".weight", "BF16", (2048,), 0x3F80) for name in gains]
    for name, (rows, columns) in matrices().items():
        found += [(name + ".biases", "BF16", (rows, columns // 64), 0xBC80),
                  (name + ".scales", "BF16", (rows, columns // 64), 0x3B00),
                  (name + ".weight", "U32", (rows, columns // 8), None)]
    return found


def write_folder(folder):
    """An MLX folder of random codes in SHARDS files; -> bytes of its weights."""
    rng, index, total = np.random.default_rng(3), {}, 0
    for number in range(SHARDS):
        file = f"model-{number + 1:05}-of-{SHARDS:05}.safetensors"
        mine, header, at = parts()[number::SHARDS], {}, 0
        for name, dtype, shape, _ in mine:
            size = int(np.prod(shape)) * (4 if dtype == "U32" else 2)
            header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + size]}
            at += size
            index[name] = file
        with open(folder / file, "wb") as out:
            out.write(file_bytes(header, b""))
            for _, _, shape, fill in mine:
                count = int(np.prod(shape))
                out.write(rng.bytes(4 * count) if fill is None
                          else np.full(count, fill, "<u2").tobytes())
        total += at
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))
    (folder / "config.json").write_text(json.dumps(CONFIG))
    return total


@pytest.fixture
def big(dist, goldens, tmp_path, serve):
    """(address of the site, of the model's folder) of one origin."""
    shutil.copytree(dist, tmp_path / "site", ignore=shutil.ignore_patterns("*.gguf"))
    folder = tmp_path / "site" / "big"
    folder.mkdir()
    assert 440e6 < write_folder(folder) < 480e6
    packed = (goldens / "text" / "smollm2.tokenizer.json.gz").read_bytes()
    (folder / "tokenizer.json").write_bytes(gzip.decompress(packed))
    (folder / "tokenizer_config.json").write_text("{}")
    url = serve(tmp_path / "site").url
    yield url, f"{url}big/"
    shutil.rmtree(tmp_path / "site")


def load(page, model):
    """Loads in a worker of its own -> (idle bytes, peak bytes)."""
    page.evaluate(START)
    while not page.evaluate(ANSWERED, "idle"):
        page.wait_for_timeout(100)
    watch = HeapWatch(page)
    page.wait_for_timeout(300)
    watch.collect_garbage()
    page.wait_for_timeout(300)
    idle = watch.sample()
    message = {"v": 1, "id": "load", "method": "load", "params": {"model": model, "context": 512}}
    page.evaluate("(message) => worker.postMessage(message)", message)
    peak = watch.peak(lambda: page.evaluate(ANSWERED, "load"))
    answer = page.evaluate(ANSWERED, "load")
    assert answer["event"] == "result", answer
    page.evaluate("worker.terminate()")
    return idle, peak


@pytest.mark.long
def test_450_mb_of_shards_add_little(page, big):
    url, model = big
    page.goto(url)
    for what in ("from the network", "from storage"):
        idle, peak = load(page, model)
        print(f"{what}: idle {idle / 1e6:.1f} MB, growth {(peak - idle) / 1e6:.1f} MB")
    assert peak - idle <= HEAP_LIMIT
