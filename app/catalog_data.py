"""The models that Jird offers by name: licence, size, source, and the config facts `fit` needs.

Sizes are those of the files that are fetched, from the repositories' pages in 2026; where only a
rounded figure is published, it is in `bytes_approx` and `nbytes` is None. Facts are the fields of
each repository's config.json that a planner reads.
"""

from dataclasses import dataclass

SAME_ORIGIN, HUB = "same-origin", "hub"
FOLDER_FILES = (
    ("config.json", True),
    ("tokenizer.json", True),
    ("model.safetensors", True),
    ("tokenizer_config.json", False),
    ("generation_config.json", False),
    ("chat_template.jinja", False),
    ("model.safetensors.index.json", False),
)
APACHE, LFM, GEMMA = "Apache-2.0", "LFM Open License v1.0", "Gemma Terms of Use"
MLX4 = "affine4-g64"  # MLX's 4-bit form: what the file holds, whatever `quant` a person picks


@dataclass(frozen=True)
class Offer:
    """`context` in tokens; `files` are (name, required); `quant`, `encodings` are for `fit`."""

    id: str
    name: str
    family: str
    license: str
    quantisation: str
    context: int
    source: str
    config: dict
    files: tuple = FOLDER_FILES
    repo: str = ""
    revision: str = "main"
    nbytes: int | None = None
    bytes_approx: int | None = None
    quant: str | None = None
    encodings: dict | None = None
    modalities: tuple = ("text",)


def _llama(hidden, width, layers, heads, kv_heads, theta):
    """SmolLM2's config: Llama with a tied head and heads of 64."""
    return {
        "model_type": "llama",
        "hidden_act": "silu",
        "hidden_size": hidden,
        "intermediate_size": width,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "vocab_size": 49152,
        "rms_norm_eps": 1e-5,
        "rope_theta": theta,
        "tie_word_embeddings": True,
        "max_position_embeddings": 8192,
        "dtype": "bfloat16",
    }


_QWEN2 = {
    "model_type": "qwen2",
    "hidden_act": "silu",
    "hidden_size": 896,
    "intermediate_size": 4864,
    "num_hidden_layers": 24,
    "num_attention_heads": 14,
    "num_key_value_heads": 2,
    "vocab_size": 151936,
    "rms_norm_eps": 1e-6,
    "rope_theta": 1000000.0,
    "tie_word_embeddings": True,
    "max_position_embeddings": 32768,
    "max_window_layers": 21,
    "sliding_window": 32768,
    "use_sliding_window": False,
    "dtype": "bfloat16",
}
_QWEN3 = {
    "model_type": "qwen3",
    "hidden_act": "silu",
    "hidden_size": 1024,
    "intermediate_size": 3072,
    "num_hidden_layers": 28,
    "num_attention_heads": 16,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "vocab_size": 151936,
    "rms_norm_eps": 1e-6,
    "rope_theta": 1000000.0,
    "attention_bias": False,
    "tie_word_embeddings": True,
    "max_position_embeddings": 40960,
    "use_sliding_window": False,
    "sliding_window": None,
    "dtype": "bfloat16",
}


def _qwen35(hidden, width):
    """Qwen3.5's text config: every fourth layer attends, the others keep a recurrent state."""
    return {
        "model_type": "qwen3_5_text",
        "hidden_act": "silu",
        "hidden_size": hidden,
        "intermediate_size": width,
        "num_hidden_layers": 24,
        "num_attention_heads": 8,
        "num_key_value_heads": 2,
        "head_dim": 256,
        "linear_key_head_dim": 128,
        "linear_value_head_dim": 128,
        "linear_num_key_heads": 16,
        "linear_num_value_heads": 16,
        "linear_conv_kernel_dim": 4,
        "full_attention_interval": 4,
        "layer_types": (["linear_attention"] * 3 + ["full_attention"]) * 6,
        "attn_output_gate": True,
        "vocab_size": 248320,
        "rms_norm_eps": 1e-6,
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": 10000000.0,
            "partial_rotary_factor": 0.25,
            "mrope_section": [11, 11, 10],
            "mrope_interleaved": True,
        },
        "tie_word_embeddings": True,
        "max_position_embeddings": 262144,
        "dtype": "bfloat16",
    }


def _lfm2(hidden, block_width, heads):
    """LFM2's config: 10 short convolutions and 6 attention layers."""
    attends = (2, 5, 8, 10, 12, 14)
    return {
        "model_type": "lfm2",
        "hidden_size": hidden,
        "block_dim": hidden,
        "block_ff_dim": block_width,
        "block_auto_adjust_ff_dim": True,
        "block_ffn_dim_multiplier": 1.0,
        "block_multiple_of": 256,
        "num_hidden_layers": 16,
        "num_attention_heads": heads,
        "num_key_value_heads": 8,
        "layer_types": ["full_attention" if i in attends else "conv" for i in range(16)],
        "conv_L_cache": 3,
        "conv_bias": False,
        "vocab_size": 65536,
        "norm_eps": 1e-5,
        "rope_theta": 1000000.0,
        "tie_word_embeddings": True,
        "max_position_embeddings": 128000,
        "dtype": "bfloat16",
    }


def _gemma3(hidden, width, layers):
    """Gemma 3's text config: five layers with a window of 512, then a full one."""
    kinds = (["sliding_attention"] * 5 + ["full_attention"]) * 5
    return {
        "model_type": "gemma3_text",
        "hidden_activation": "gelu_pytorch_tanh",
        "hidden_size": hidden,
        "intermediate_size": width,
        "num_hidden_layers": layers,
        "num_attention_heads": 4,
        "num_key_value_heads": 1,
        "head_dim": 256,
        "query_pre_attn_scalar": 256,
        "sliding_window": 512,
        "layer_types": kinds[:layers],
        "vocab_size": 262144,
        "rms_norm_eps": 1e-6,
        "rope_theta": 1000000.0,
        "rope_local_base_freq": 10000.0,
        "attention_bias": False,
        "tie_word_embeddings": True,
        "max_position_embeddings": 32768,
        "dtype": "bfloat16",
    }


OFFERS = (
    Offer(
        "smollm2-135m-instruct",
        "SmolLM2 135M Instruct",
        "SmolLM2",
        APACHE,
        "4-bit (GGUF Q4_1)",
        8192,
        SAME_ORIGIN,
        _llama(576, 1536, 30, 9, 3, 100000.0),
        files=(("model.gguf", True),),
        nbytes=98_362_432,  # the file that the site ships
        encodings={"matrix": "q4_1", "embedding": "q8_0"},
    ),
    Offer(
        "smollm2-360m-instruct",
        "SmolLM2 360M Instruct",
        "SmolLM2",
        APACHE,
        "4-bit (GGUF Q4_0)",
        8192,
        HUB,
        _llama(960, 2560, 32, 15, 5, 100000.0),
        files=(("SmolLM2-360M-Instruct-Q4_0.gguf", True),),
        repo="bartowski/SmolLM2-360M-Instruct-GGUF",
        nbytes=229_733_280,  # the repository's file list
        # rows of 960 fill no K-quant's block of 256: the embedding is Q8_0
        encodings={"matrix": "q4_0", "embedding": "q8_0"},
    ),
    Offer(
        "smollm2-1.7b-instruct",
        "SmolLM2 1.7B Instruct",
        "SmolLM2",
        APACHE,
        "4-bit (GGUF Q4_0)",
        8192,
        HUB,
        _llama(2048, 8192, 24, 32, 32, 130000.0),
        files=(("SmolLM2-1.7B-Instruct-Q4_0.gguf", True),),
        repo="bartowski/SmolLM2-1.7B-Instruct-GGUF",
        nbytes=993_874_912,  # the repository's file list
        encodings={"matrix": "q4_0", "embedding": "q6_k"},
    ),
    Offer(
        "qwen2.5-0.5b-instruct",
        "Qwen2.5 0.5B Instruct",
        "Qwen2.5",
        APACHE,
        "4-bit (MLX)",
        32768,
        HUB,
        _QWEN2,
        repo="mlx-community/Qwen2.5-0.5B-Instruct-4bit",
        bytes_approx=285_000_000,  # file list: weights 278 MB, tokenizer.json 7.0 MB
        quant=MLX4,
    ),
    Offer(
        "qwen3-0.6b",
        "Qwen3 0.6B",
        "Qwen3",
        APACHE,
        "4-bit (MLX)",
        40960,
        HUB,
        _QWEN3,
        repo="mlx-community/Qwen3-0.6B-4bit",
        # 596,049,920 parameters at 4.5 bits; tokenizer.json 11.4 MB (file list of its bf16 twin)
        bytes_approx=347_000_000,
        quant=MLX4,
    ),
    Offer(
        "qwen3.5-0.8b",
        "Qwen3.5 0.8B",
        "Qwen3.5",
        APACHE,
        "4-bit (MLX)",
        262144,
        HUB,
        _qwen35(1024, 3584),
        repo="mlx-community/Qwen3.5-0.8B-MLX-4bit",
        # model page: 625 MB, of which the text model is 423 MB and the rest a vision tower in bf16
        bytes_approx=645_000_000,
        quant=MLX4,
    ),
    Offer(
        "qwen3.5-2b",
        "Qwen3.5 2B",
        "Qwen3.5",
        APACHE,
        "4-bit (MLX)",
        262144,
        HUB,
        _qwen35(2048, 6144),
        repo="mlx-community/Qwen3.5-2B-4bit",
        bytes_approx=1_740_000_000,  # model page: 1.72 GB with the vision tower; tokenizer 20 MB
        quant=MLX4,
    ),
    Offer(
        "lfm2.5-350m",
        "LFM2.5 350M",
        "LFM2.5",
        LFM,
        "4-bit (MLX)",
        32768,
        HUB,
        _lfm2(1024, 6656, 16),
        repo="LiquidAI/LFM2.5-350M-MLX-4bit",
        nbytes=226_571_069,  # the repository's file list, all files
        quant=MLX4,
    ),
    Offer(
        "lfm2.5-1.2b-instruct",
        "LFM2.5 1.2B Instruct",
        "LFM2.5",
        LFM,
        "4-bit (MLX)",
        32768,
        HUB,
        _lfm2(2048, 12288, 32),
        repo="LiquidAI/LFM2.5-1.2B-Instruct-MLX-4bit",
        bytes_approx=663_000_000,  # model card: 1.17B parameters, 628 MiB; tokenizer.json 4.7 MB
        quant=MLX4,
    ),
    Offer(
        "gemma-3-270m-it",
        "Gemma 3 270M",
        "Gemma 3",
        GEMMA,
        "4-bit (MLX)",
        32768,
        HUB,
        _gemma3(640, 2048, 18),
        repo="mlx-community/gemma-3-270m-it-4bit",
        bytes_approx=185_000_000,  # model page: 0.15 GB of weights; tokenizer.json 33 MB
        quant=MLX4,
    ),
    Offer(
        "gemma-3-1b-it",
        "Gemma 3 1B",
        "Gemma 3",
        GEMMA,
        "4-bit (MLX)",
        32768,
        HUB,
        _gemma3(1152, 6912, 26),
        repo="mlx-community/gemma-3-1b-it-4bit",
        bytes_approx=770_000_000,  # the repository's page: 0.77 GB
        quant=MLX4,
    ),
)
