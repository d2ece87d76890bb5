"""The random checkpoint is one that the engine takes, and its numbers stay sane."""
import json

import numpy as np

from tests.bench.random_qwen3_5 import write
from tests.checkpoints import close, engine, first_logits, folder, generated

CONFIG = {
    "model_type": "qwen3_5_text", "vocab_size": 333, "hidden_size": 128, "intermediate_size": 192,
    "num_hidden_layers": 4, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 64,
    "linear_num_key_heads": 2, "linear_num_value_heads": 4, "linear_key_head_dim": 32,
    "linear_value_head_dim": 32, "linear_conv_kernel_dim": 4, "hidden_act": "silu",
    "layer_types": [*["linear_attention"] * 3, "full_attention"], "rms_norm_eps": 1e-6,
    "rope_parameters": {"rope_type": "default", "rope_theta": 1e7, "partial_rotary_factor": 0.25},
    "tie_word_embeddings": True, "max_position_embeddings": 4096,
}


def test_it_loads_and_decodes(tmp_path):
    total = write(tmp_path, CONFIG)
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
    assert index["metadata"]["total_size"] == total
    source = folder(tmp_path)
    assert source.config["model_type"] == "qwen3_5"
    one = engine(source, quant=None, context=256)
    assert one.model.quant == "keep"
    logits = first_logits(one, range(1, 101))
    assert np.isfinite(logits).all() and 0.05 < logits.std() < 50
    assert len(generated(one, range(100), max_tokens=20)[0]) == 20
    close(one)
