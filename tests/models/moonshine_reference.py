"""An independent implementation of Moonshine, the whole of it at once in float64, and a checkpoint
of random weights with heads of a published size."""
import json
import math

import numpy as np

from tests.checkpoints import encoded
from tests.formats.safetensors_writer import safetensors

# heads of 52 dims of which 32 rotate, as `base` has; two layers and few words
REAL_HEADS = {
    "model_type": "moonshine", "hidden_size": 208, "intermediate_size": 320, "vocab_size": 384,
    **{f"{side}_num_{what}": n for side in ("encoder", "decoder") for what, n in (
        ("hidden_layers", 2), ("attention_heads", 4), ("key_value_heads", 4))},
    "rope_parameters": {"rope_theta": 1e4, "partial_rotary_factor": 0.62, "rope_type": "default"},
    "max_position_embeddings": 512, "decoder_start_token_id": 1, "encoder_hidden_act": "gelu",
    "decoder_hidden_act": "silu", "attention_bias": False, "dtype": "float32",
}
STEM = (("conv1", 127, 64), ("conv2", 7, 3), ("conv3", 3, 2))
ERF = np.vectorize(math.erf)


def weights(config, seed=7):
    """{tensor: f32 array} of a config."""
    hidden, width = config["hidden_size"], config["intermediate_size"]
    rng = np.random.default_rng(seed)
    found = {"model.decoder.embed_tokens.weight": (config["vocab_size"], hidden)}
    shapes = {"conv1": (hidden, 1, 127), "conv2": (2 * hidden, hidden, 7),
              "conv3": (hidden, 2 * hidden, 3)}
    found |= {f"model.encoder.{name}.weight": shape for name, shape in shapes.items()}
    found |= {f"model.encoder.{name}": shape for name, shape in (
        ("conv2.bias", (2 * hidden,)), ("conv3.bias", (hidden,)), ("groupnorm.weight", (hidden,)),
        ("groupnorm.bias", (hidden,)), ("layer_norm.weight", (hidden,)))}
    found["model.decoder.norm.weight"] = (hidden,)
    for side, rows, attentions, norms in (
            ("encoder", width, ("self_attn",), ("input_layernorm", "post_attention_layernorm")),
            ("decoder", 2 * width, ("self_attn", "encoder_attn"),
             ("input_layernorm", "post_attention_layernorm", "final_layernorm"))):
        for i in range(config[f"{side}_num_hidden_layers"]):
            layer = f"model.{side}.layers.{i}."
            found |= {f"{layer}{attn}.{p}_proj.weight": (hidden, hidden)
                      for attn in attentions for p in "qkvo"}
            found |= {f"{layer}{norm}.weight": (hidden,) for norm in norms}
            found |= {layer + "mlp.fc1.weight": (rows, hidden), layer + "mlp.fc1.bias": (rows,),
                      layer + "mlp.fc2.weight": (hidden, width), layer + "mlp.fc2.bias": (hidden,)}
    return {name: _random(rng, name, shape) for name, shape in found.items()}


def _random(rng, name, shape):
    array = rng.normal(size=shape)
    if len(shape) == 1:
        return np.float32(0.1 * array + ("norm" in name and name.endswith("weight")))
    return np.float32(array / math.sqrt(math.prod(shape[1:])))


def write(folder, config, tensors):
    """The files of a checkpoint; -> the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    data = {name: encoded(array, "F32") for name, array in tensors.items()}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "model.safetensors").write_bytes(safetensors(data))
    return folder


class Reference:
    """`encode(wav)` -> (T, H); `logits(encoded, ids)` -> (ids, vocab)."""

    def __init__(self, config, tensors):
        self.config = config
        self.w = {name: np.asarray(array, np.float64) for name, array in tensors.items()}

    def _norm(self, x, name):
        centred = x - x.mean(-1, keepdims=True)
        return centred / np.sqrt((centred ** 2).mean(-1, keepdims=True) + 1e-5) * self.w[name]

    def _attention(self, side, prefix, x, source, rotate, causal):
        heads = self.config[f"{side}_num_attention_heads"]
        q, k, v = ((rows @ self.w[f"{prefix}{name}_proj.weight"].T).reshape(len(rows), heads, -1)
                   for name, rows in (("q", x), ("k", source), ("v", source)))
        if rotate:
            q, k = self._rotated(q), self._rotated(k)
        scores = np.einsum("thd,shd->hts", q, k) / math.sqrt(q.shape[-1])
        if causal:
            scores = np.where(np.tri(len(x), dtype=bool), scores, -np.inf)
        share = np.exp(scores - scores.max(-1, keepdims=True))
        out = np.einsum("hts,shd->thd", share / share.sum(-1, keepdims=True), v)
        return out.reshape(len(x), -1) @ self.w[prefix + "o_proj.weight"].T

    def _rotated(self, x):
        """Neighbours of the first part of a head turn together."""
        rope = self.config["rope_parameters"]
        part = int(x.shape[-1] * rope["partial_rotary_factor"]) // 2 * 2
        rate = rope["rope_theta"] ** (-np.arange(0, part, 2) / part)
        turned = (x[..., :part:2] + 1j * x[..., 1:part:2]) * np.exp(
            1j * np.arange(len(x))[:, None, None] * rate)
        found = x.copy()
        found[..., :part:2], found[..., 1:part:2] = turned.real, turned.imag
        return found

    def _mlp(self, prefix, x, gated):
        y = x @ self.w[prefix + "fc1.weight"].T + self.w[prefix + "fc1.bias"]
        if gated:
            up, gate = np.split(y, 2, axis=-1)
            y = gate / (1 + np.exp(-gate)) * up
        else:
            y = _gelu(y)
        return y @ self.w[prefix + "fc2.weight"].T + self.w[prefix + "fc2.bias"]

    def encode(self, wav):
        x = np.asarray(wav, np.float64)[:, None]
        for name, taps, stride in STEM:
            rows = np.stack([x[t:t + taps].T for t in range(0, len(x) - taps + 1, stride)])
            x = np.einsum("tck,ock->to", rows, self.w[f"model.encoder.{name}.weight"])
            if name == "conv1":
                x = np.tanh(x)
                x = (x - x.mean()) / np.sqrt(x.var() + 1e-5)
                gain, bias = (self.w[f"model.encoder.groupnorm.{name}"] for name in ("weight", "bias"))
                x = x * gain + bias
            else:
                x = _gelu(x + self.w[f"model.encoder.{name}.bias"])
        for i in range(self.config["encoder_num_hidden_layers"]):
            layer = f"model.encoder.layers.{i}."
            h = self._norm(x, layer + "input_layernorm.weight")
            x = x + self._attention("encoder", layer + "self_attn.", h, h, True, False)
            h = self._norm(x, layer + "post_attention_layernorm.weight")
            x = x + self._mlp(layer + "mlp.", h, False)
        return self._norm(x, "model.encoder.layer_norm.weight")

    def logits(self, source, ids):
        embedding = self.w["model.decoder.embed_tokens.weight"]
        x = embedding[list(ids)]
        for i in range(self.config["decoder_num_hidden_layers"]):
            layer = f"model.decoder.layers.{i}."
            h = self._norm(x, layer + "input_layernorm.weight")
            x = x + self._attention("decoder", layer + "self_attn.", h, h, True, True)
            h = self._norm(x, layer + "post_attention_layernorm.weight")
            x = x + self._attention("decoder", layer + "encoder_attn.", h, source, False, False)
            h = self._norm(x, layer + "final_layernorm.weight")
            x = x + self._mlp(layer + "mlp.", h, True)
        return self._norm(x, "model.decoder.norm.weight") @ embedding.T


def _gelu(x):
    return 0.5 * x * (1 + ERF(x / math.sqrt(2)))
