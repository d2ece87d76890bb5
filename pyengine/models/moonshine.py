"""Moonshine: speech to text from raw samples, an encoder of convolutions and attention and a
decoder that looks back at it. Jeffries et al. 2024, "Moonshine: Speech Recognition for Live
Transcription and Voice Commands".

`build` is the decoder, an ordinary program of one row; `programs` are the encoder, which writes
what the decoder attends to. The state's N comes in as samples and is what is left of them after
each convolution."""
from dataclasses import dataclass

from pyengine.formats.hf_config import require, rope_parameters
from pyengine.ir.audio_ops import strided
from pyengine.ir.graph import Value
from pyengine.models.blocks.config import MAX_HEAD_DIM, MAX_LAYERS, expect, refuse
from pyengine.models.blocks.rope import RopeTables

MODEL_TYPES = ("moonshine",)
GGUF_ARCHS = ()

# tensors of published checkpoints that the graph does not read, each for a reason
DROPPED = {
    r"proj_out\.weight": "a tied head is the embedding; an untied one is read",
    r"model\.(en|de)coder\.rotary_emb\.inv_freq": "recomputed from the config",
}

QUANT = "affine8-g64"                   # by default: the model is small, its words are not
RATE = 16000                            # samples a second
STEM = ((127, 64), (7, 3), (3, 2))      # kernel and stride of the convolutions
SECONDS = (11, 30)                      # of audio that the encoder's programs take at most
EPS = 1e-5                              # of all norms; no config says another


def frames(samples):
    """Rows of the encoder's output for so many samples; 0 where there are too few for one."""
    for kernel, stride in STEM:
        samples = strided(samples, kernel, stride)
    return samples


MOST_FRAMES = frames(RATE * SECONDS[-1])


@dataclass(frozen=True)
class Side:
    """Layers and heads of the encoder or of the decoder."""
    layers: int
    heads: int

    @classmethod
    def from_hf(cls, config, side):
        heads = require(config, f"{side}_num_attention_heads")
        layers = require(config, f"{side}_num_hidden_layers")
        expect(config, **{f"{side}_num_key_value_heads": heads})
        if layers > MAX_LAYERS:
            refuse(f"{side}_num_hidden_layers", layers, f"at most {MAX_LAYERS}")
        return cls(layers, heads)


@dataclass(frozen=True)
class Config:
    """The fields that change the maths; none has a default. `max_context` counts text tokens."""
    hidden: int
    width: int
    encoder: Side
    decoder: Side
    vocab: int
    tied: bool
    rope: dict
    max_context: int
    start: int

    @classmethod
    def from_hf(cls, config):
        """Raises `E_UNSUPPORTED_CONFIG` for a missing field or a variant whose maths differs."""
        expect(config, encoder_hidden_act="gelu", decoder_hidden_act="silu", attention_bias=False)
        encoder, decoder = Side.from_hf(config, "encoder"), Side.from_hf(config, "decoder")
        hidden, rope = require(config, "hidden_size"), rope_parameters(config)
        found = cls(hidden, require(config, "intermediate_size"), encoder, decoder,
                    require(config, "vocab_size"), config.get("tie_word_embeddings") is not False,
                    rope, require(config, "max_position_embeddings"),
                    require(config, "decoder_start_token_id"))
        for side in (encoder, decoder):
            found.tables(side)
        return found

    def head_dim(self, side):
        d = self.hidden // side.heads
        if self.hidden % side.heads or d % 2 or not 2 <= d <= MAX_HEAD_DIM:
            refuse("attention heads", f"{side.heads} of {self.hidden / side.heads}",
                   f"heads of an even size up to {MAX_HEAD_DIM}")
        return d

    def tables(self, side):
        """The rotation of the first part of a head. Raises `E_UNSUPPORTED_CONFIG`."""
        part = self.rope.get("partial_rotary_factor")
        rotated = int(self.head_dim(side) * part) // 2 * 2 if part is not None else 0
        if not 2 <= rotated <= self.head_dim(side):
            refuse("partial_rotary_factor", part, "the part of a head that rotates, up to 1")
        return RopeTables(rotated, self.rope)


def prefill_rows(context):
    """A transcript begins with one token: there is nothing to prefill."""
    return ()


def programs(cfg):
    """[(name, rows, build)] of the encoder, shortest first: `encode<samples>` takes that many."""
    return [(f"encode{RATE * s}", frames(RATE * s), _encoder(RATE * s)) for s in SECONDS]


# ---- blocks --------------------------------------------------------------------------------------

def _norm(b, x, tensor, into=None):
    gain = b.vector(tensor, b.graph.values[x].shape[1])
    return b.op("layernorm", x, gain, eps=EPS, into=into)


def _rotated(cfg, b, side, x, prefix, caches, table):
    """q of x (T, H) normalised; k and v in the caches at the state's position."""
    d, heads = cfg.head_dim(side), side.heads
    qkv = b.linear(x, *((f"{prefix}{name}_proj.weight", heads * d) for name in "qkv"))
    positions = MOST_FRAMES if side is cfg.encoder else b.context
    tables = b.rope_tables(cfg.tables(side), table, positions)
    return b.op("rope_kv", qkv, *tables, *caches, heads=heads, kv_heads=heads, head_dim=d,
                interleaved=True)


def _source(cfg, b, name):
    """The keys and values of the encoder's output that decoder layer `name` attends to."""
    heads = cfg.decoder.heads
    return tuple(b.fixed(f"{name}encoder_attn.{part}", heads, MOST_FRAMES,
                         cfg.head_dim(cfg.decoder)) for part in "kv")


def _residual(cfg, b, x, y, tensor):
    return b.op("add", x, b.linear(y, (tensor, cfg.hidden)))


def _mlp(cfg, b, x, h, prefix, gated):
    """x + fc2(act(fc1(h))), both with biases; `gated`: fc1 makes up and gate."""
    width = cfg.width * (2 if gated else 1)
    y = b.linear(h, (prefix + "fc1.weight", width))
    bias = b.vector(prefix + "fc1.bias", width)
    y = b.linear(b.op("bias_silu_mul" if gated else "bias_gelu", y, bias),
                 (prefix + "fc2.weight", cfg.hidden))
    return b.op("bias_add", y, b.vector(prefix + "fc2.bias", cfg.hidden), x)


# ---- encoder -------------------------------------------------------------------------------------

def _stem(cfg, b, audio):
    """audio (samples, 1) -> (T, H): tanh and a norm of one group behind the first convolution, GELU
    behind the others."""
    prefix, hidden = "model.encoder.", cfg.hidden
    x = b.op("tanh", b.conv1d(audio, prefix + "conv1.weight", hidden, *STEM[0]))
    gain, bias = (b.vector(f"{prefix}groupnorm.{name}", hidden) for name in ("weight", "bias"))
    x = b.op("group_norm", x, b.op("group_stats", x), gain, bias, eps=EPS)
    for name, channels, (kernel, stride) in (("conv2", 2 * hidden, STEM[1]),
                                             ("conv3", hidden, STEM[2])):
        x = b.conv1d(x, f"{prefix}{name}.weight", channels, kernel, stride)
        x = b.op("bias_gelu", x, b.vector(f"{prefix}{name}.bias", channels))
    return x


def _encoder(samples):
    def build(cfg, b):
        """Writes the io value "encoded" (T, H) and every decoder layer's source."""
        audio = b.graph.add(Value("audio", (samples, 1), "f32", "io")).name
        side, d = cfg.encoder, cfg.head_dim(cfg.encoder)
        # one layer's keys and values at a time, exact: this is not a cache that lasts
        caches = [b.fixed(f"encoder.{part}", side.heads, MOST_FRAMES, d, "f32") for part in "kv"]
        x = _stem(cfg, b, audio)
        for i in range(side.layers):
            layer = f"model.encoder.layers.{i}."
            h = _norm(b, x, layer + "input_layernorm.weight")
            q = _rotated(cfg, b, side, h, layer + "self_attn.", caches, "rope.encoder")
            out = b.op("source_attention", q, *caches, scale=d ** -0.5)
            x = _residual(cfg, b, x, out, layer + "self_attn.o_proj.weight")
            h = _norm(b, x, layer + "post_attention_layernorm.weight")
            x = _mlp(cfg, b, x, h, layer + "mlp.", gated=False)
        encoded = b.graph.add(Value("encoded", (b.rows, cfg.hidden), "f32", "io")).name
        x = _norm(b, x, "model.encoder.layer_norm.weight", into=encoded)
        for i in range(cfg.decoder.layers):
            layer = f"model.decoder.layers.{i}."
            kv = b.linear(x, *((f"{layer}encoder_attn.{name}_proj.weight", cfg.hidden)
                               for name in "kv"))
            b.op("store_kv", kv, *_source(cfg, b, layer))
        return encoded
    return build


# ---- decoder -------------------------------------------------------------------------------------

def build(cfg, b):
    """The graph of one token: writes the logits behind it to the io value "logits"."""
    side, d = cfg.decoder, cfg.head_dim(cfg.decoder)
    embedding = "model.decoder.embed_tokens.weight"
    x = b.embed(embedding, cfg.vocab, cfg.hidden)
    for i in range(side.layers):
        layer = f"model.decoder.layers.{i}."
        caches = [b.cache(f"{layer}self_attn.{part}", side.heads, d) for part in "kv"]
        h = _norm(b, x, layer + "input_layernorm.weight")
        q = _rotated(cfg, b, side, h, layer + "self_attn.", caches, "rope")
        out = b.op("attention", q, *caches, scale=d ** -0.5)
        x = _residual(cfg, b, x, out, layer + "self_attn.o_proj.weight")
        h = _norm(b, x, layer + "post_attention_layernorm.weight")
        q = b.linear(h, (layer + "encoder_attn.q_proj.weight", cfg.hidden))
        out = b.op("source_attention", q, *_source(cfg, b, layer), scale=d ** -0.5)
        x = _residual(cfg, b, x, out, layer + "encoder_attn.o_proj.weight")
        h = _norm(b, x, layer + "final_layernorm.weight")
        x = _mlp(cfg, b, x, h, layer + "mlp.", gated=True)
    x = _norm(b, x, "model.decoder.norm.weight")
    head = embedding if cfg.tied else "proj_out.weight"
    return b.linear(x, (head, cfg.vocab), embedding=True, into=b.logits(cfg.vocab))
