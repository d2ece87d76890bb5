"""A tiny Kani-TTS 2 of random weights and an independent implementation of it: the whole sequence
at once in float64, positions counted token by token."""
import json
import math

import numpy as np

from tests.checkpoints import encoded
from tests.formats.safetensors_writer import safetensors

HIDDEN, WIDTH, HEADS, KV_HEADS, D, VOCAB, TAPS, SPEAKER = 32, 48, 4, 2, 8, 166, 3, 10
AUDIO, TOKEN = 110, 107   # the first audio token, and the one in whose place the speaker stands
CONFIG = {
    "model_type": "lfm2", "hidden_size": HIDDEN, "intermediate_size": WIDTH, "vocab_size": VOCAB,
    "num_attention_heads": HEADS, "num_key_value_heads": KV_HEADS, "num_hidden_layers": 4,
    "block_auto_adjust_ff_dim": False, "conv_L_cache": TAPS, "conv_bias": False, "norm_eps": 1e-5,
    "layer_types": ["conv", "full_attention", "conv", "full_attention"], "dtype": "float32",
    "max_position_embeddings": 4096, "rope_theta": 10000.0, "tie_word_embeddings": True,
    "audio_tokens_start": AUDIO, "tokens_per_frame": 4, "audio_step": 0.5,
    "use_learnable_rope": True, "alpha_min": 0.1, "alpha_max": 2.0, "speaker_emb_dim": SPEAKER,
}
ALPHA = "model.learnable_rope_layers.{}.alpha_weight"
PROJECTION = "model.speaker_emb_projection.weight"
# a prompt with a speaker in it, and three frames and a half of speech
PROMPT = (103, TOKEN, 1, 17, 83, 7, 60, 2, 104, 105, 101)
SPEECH = tuple(AUDIO + 14 * (i % 4) + 3 * i % 14 for i in range(14))
VECTOR = tuple(float(x) for x in np.random.default_rng(8).normal(size=SPEAKER).round(3))


def weights(config=None, seed=3):
    """{tensor: array} that a config asks for."""
    config, rng = config or CONFIG, np.random.default_rng(seed)
    found = {"model.embed_tokens.weight": (VOCAB, HIDDEN), "model.embedding_norm.weight": (HIDDEN,)}
    if config.get("speaker_emb_dim"):
        found[PROJECTION] = (HIDDEN, config["speaker_emb_dim"])
    for i, kind in enumerate(config["layer_types"]):
        layer = f"model.layers.{i}."
        found |= {f"{layer}{name}_norm.weight": (HIDDEN,) for name in ("operator", "ffn")}
        found |= {f"{layer}feed_forward.{name}.weight": shape for name, shape in (
            ("w1", (WIDTH, HIDDEN)), ("w2", (HIDDEN, WIDTH)), ("w3", (WIDTH, HIDDEN)))}
        if kind == "conv":
            found |= {layer + "conv.in_proj.weight": (3 * HIDDEN, HIDDEN),
                      layer + "conv.conv.weight": (HIDDEN, 1, TAPS),
                      layer + "conv.out_proj.weight": (HIDDEN, HIDDEN)}
            continue
        found |= {f"{layer}self_attn.{name}.weight": (rows, HIDDEN) for name, rows in (
            ("q_proj", HEADS * D), ("k_proj", KV_HEADS * D), ("v_proj", KV_HEADS * D),
            ("out_proj", HIDDEN))}
        found |= {f"{layer}self_attn.{name}_layernorm.weight": (D,) for name in "qk"}
        if config.get("use_learnable_rope"):
            found[ALPHA.format(i)] = ()
    return {name: _random(rng, shape) for name, shape in found.items()}


def _random(rng, shape):
    array = rng.normal(size=shape)
    if len(shape) == 1:
        return (1 + 0.1 * array).astype(np.float32)
    return np.float32(array * 2 / math.sqrt(shape[-1] if shape else 1))


def write(folder):
    """The files of CONFIG with the reference's logits behind each id, as tests/goldens has them."""
    folder.mkdir(parents=True, exist_ok=True)
    found = weights()
    data = {name: encoded(np.asarray(array), "F32") for name, array in found.items()}
    (folder / "config.json").write_text(json.dumps(CONFIG, indent=1))
    (folder / "model.safetensors").write_bytes(safetensors(data))
    ids = PROMPT + SPEECH
    np.savez(folder / "golden.npz", ids=np.array(ids), speaker=np.array(VECTOR),
             logits=logits(CONFIG, found, ids, VECTOR).astype(np.float32))


# ---- the reference -------------------------------------------------------------------------------


def positions(config, ids):
    """Of each token: text tokens before it, and the frames that the audio tokens before it make."""
    found, text, audio = [], 0, 0
    for token in ids:
        step = config.get("audio_step", 1.0)
        found.append(text + audio // config.get("tokens_per_frame", 4) * step)
        text, audio = text + (token < AUDIO), audio + (token >= AUDIO)
    return np.array(found)


def logits(config, tensors, ids, speaker=None):
    """Logits behind each of `ids`, (T, VOCAB)."""
    w = {name: np.asarray(array, np.float64) for name, array in tensors.items()}
    x = w["model.embed_tokens.weight"][list(ids)]
    for t, token in enumerate(ids):
        if token == TOKEN and config.get("speaker_emb_dim"):
            x[t] = w[PROJECTION] @ np.array(speaker)
    places = positions(config, ids)
    for i, kind in enumerate(config["layer_types"]):
        layer = f"model.layers.{i}."
        h = _norm(x, w[layer + "operator_norm.weight"])
        mix = _conv if kind == "conv" else _attention
        x = x + mix(config, w, layer, h, places)
        h = _norm(x, w[layer + "ffn_norm.weight"])
        gate, up = (h @ w[f"{layer}feed_forward.{name}.weight"].T for name in ("w1", "w3"))
        x = x + (gate / (1 + np.exp(-gate)) * up) @ w[layer + "feed_forward.w2.weight"].T
    return _norm(x, w["model.embedding_norm.weight"]) @ w["model.embed_tokens.weight"].T


def _norm(x, gain):
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + CONFIG["norm_eps"]) * gain


def _conv(config, w, layer, h, places):
    b, c, x = np.split(h @ w[layer + "conv.in_proj.weight"].T, 3, axis=1)
    u, taps = b * x, w[layer + "conv.conv.weight"][:, 0]
    y = np.zeros_like(u)
    for t in range(len(u)):
        for k in range(TAPS):
            if t - (TAPS - 1 - k) >= 0:
                y[t] += taps[:, k] * u[t - (TAPS - 1 - k)]
    return (c * y) @ w[layer + "conv.out_proj.weight"].T


def _attention(config, w, layer, h, places):
    q, k, v = ((h @ w[f"{layer}self_attn.{name}_proj.weight"].T).reshape(len(h), -1, D)
               for name in "qkv")
    rate = CONFIG["rope_theta"] ** (-np.arange(0, D, 2) / D)
    if config.get("use_learnable_rope"):
        raw = float(w[ALPHA.format(layer.split(".")[2])])
        rate = rate * (config["alpha_min"]
                       + (config["alpha_max"] - config["alpha_min"]) / (1 + np.exp(-raw)))
    turn = np.exp(1j * places[:, None] * rate)[:, None]          # (T, 1, D / 2)

    def turned(x, gain):
        x = _norm(x, gain)
        z = (x[..., :D // 2] + 1j * x[..., D // 2:]) * turn
        return np.concatenate([z.real, z.imag], axis=-1)

    q = turned(q, w[layer + "self_attn.q_layernorm.weight"])
    k = turned(k, w[layer + "self_attn.k_layernorm.weight"])
    out = np.zeros_like(q)
    for t in range(len(h)):
        for head in range(HEADS):
            kv = head // (HEADS // KV_HEADS)
            scores = k[:t + 1, kv] @ q[t, head] / math.sqrt(D)
            share = np.exp(scores - scores.max())
            out[t, head] = share / share.sum() @ v[:t + 1, kv]
    return out.reshape(len(h), -1) @ w[layer + "self_attn.out_proj.weight"].T
