"""Config (+ tensors) -> graphs -> fused graphs -> Plan: the planning line, with no device and no
weights' bytes."""
import re

from pyengine import flags, kernels, models
from pyengine.caps import Caps
from pyengine.decode.logprobs import ENTRY
from pyengine.errors import EngineError, naming_tensor
from pyengine.formats import hf_config
from pyengine.formats.mlx import Quantization
from pyengine.ir import (  # noqa: F401  registers their ops
    audio_ops, codec_ops, hybrid_ops, sample_ops, split_ops, voice_ops)
from pyengine.ir.graph import Value
from pyengine.ir.mask_ops import mask_words
from pyengine.ir.ops import OPS
from pyengine.ir.verify import verify
from pyengine.kernels.split import split_attrs
from pyengine.models.builder import Builder, Weights
from pyengine.passes.conv import fold_conv
from pyengine.passes.fuse import fuse
from pyengine.passes.split import split_attention
from pyengine.plan.plan import CompiledModel
from pyengine.plan.schedule import make_plan
from pyengine.quant.kinds import WeightKind, resolve_quant

# T of the prefill programs; a run takes the smallest that holds its rows
PREFILL_ROWS = (16, 128, 512)
RING = 64                    # ids that a burst may produce before they are read
DEFAULT_CONTEXT = 4096
F32 = WeightKind("dense", dtype="f32")
ENCODINGS = {"float32": "f32", "float16": "f16", "bfloat16": "bf16"}


def _is_quantised(tensors):
    return any(ref.encoding.startswith(("q", "affine")) for ref in tensors.values())


def _declared(config, encodings):
    """(tensor, columns, is_embedding) -> the encoding that a file of this config has."""
    saved = ENCODINGS.get(str(hf_config.dtype(config)), "f32")
    quantization = Quantization.of(config)

    def encoding_of(tensor, columns, embedding):
        given = (encodings or {}).get("embedding" if embedding else "matrix")
        if given:
            return given
        return quantization.encoding(tensor, columns, saved) if quantization else saved

    return encoding_of


def _kind_of(config, tensors, quant, encodings):
    """(tensor, columns, is_embedding; None for a vector) -> WeightKind."""
    declared = _declared(config, encodings)
    tensors = None if tensors is None else _Tensors(tensors)

    def kind_of(tensor, columns, embedding):
        if embedding is None:
            return F32
        encoding = (tensors[tensor].encoding if tensors is not None
                    else declared(tensor, columns, embedding))
        with naming_tensor(tensor):
            return resolve_quant(quant, encoding, embedding, columns)

    return kind_of


def _check_of(tensors):
    """(tensor, shape) -> raises when the checkpoint lacks it or shapes it otherwise; a lack is
    reported with all others."""
    missing = []

    def check(tensor, *shapes):
        ref = tensors.get(tensor)
        if ref is None:
            missing.extend([tensor] if tensor not in missing else [])
        elif tuple(ref.shape) not in shapes:
            raise EngineError(
                "E_UNSUPPORTED_TENSOR",
                tensor=tensor,
                detail=f"its shape is {list(ref.shape)}, the config asks for {list(shapes[0])}",
            )

    return check, missing


def check_unused(tensors, used, family):
    """Raises `E_UNUSED_TENSOR` for tensors that are neither `used` nor in the family's DROPPED."""
    unused = sorted(name for name in set(tensors) - used
                    if not any(re.fullmatch(pattern, name) for pattern in family.DROPPED))
    if unused:
        raise EngineError(
            "E_UNUSED_TENSOR", unused=", ".join(unused[:8]) + (" ..." if len(unused) > 8 else "")
        )


def _sampling_graphs(vocab, caps):
    """The two tails: greedy argmax, and the sampler with noise, filters and penalties."""
    graphs = []
    for name in ("greedy", "sample"):
        b = Builder(name, 1, 0, None, max_binding=caps.max_binding)
        logits = b.logits(vocab)
        ring = b.graph.add(Value("ring", (RING,), "u32", "io")).name
        if name == "greedy":
            b.op("sample_take", b.op("sample_argmax", logits), ring, b.tokens)
        else:
            counts = b.graph.add(Value("counts", (vocab,), "u32", "io")).name
            bias = b.graph.add(Value("bias", (vocab,), "f32", "io")).name
            tops, scratch = b.op("sample_prepare", logits, counts, bias)
            b.op("sample_hist", logits, tops, scratch)
            b.op("sample_topk", logits, scratch)
            b.op("sample_topp", logits, scratch)
            picks = b.op("sample_pick", logits, scratch)
            b.op("sample_finish", logits, picks, scratch, ring, b.tokens, counts)
        b.graph.outputs = (ring,)
        graphs.append(verify(b.graph))
    return graphs + _logprob_graphs(vocab, caps) + [_mask_graph(vocab, caps)]


def _mask_graph(vocab, caps):
    """What runs before a tail while a grammar is active."""
    b = Builder("mask", 1, 0, None, max_binding=caps.max_binding)
    mask = b.graph.add(Value("mask", (mask_words(vocab),), "u32", "io")).name
    logits = b.logits(vocab)
    b.op("mask_logits", logits, mask)
    b.graph.outputs = (logits,)
    return verify(b.graph)


def _speech_graphs(vocab, caps, rows, speech):
    """What runs before a tail in a voice model; `rows` of the longest prefill."""
    if speech is None:
        return []
    b = Builder("speech_mask", rows, 0, None, max_binding=caps.max_binding)
    logits = b.logits(vocab)
    b.op("speech_mask", logits, b.tokens, **speech)
    b.graph.outputs = (logits,)
    return [verify(b.graph)]


def _logprob_graphs(vocab, caps):
    """What runs before and after a tail where log probabilities are asked for."""
    graphs = []
    for name in ("logprob_top", "logprob_take"):
        b = Builder(name, 1, 0, None, max_binding=caps.max_binding)
        raw = b.graph.add(Value("logprob_raw", (1, vocab), "f32", "io")).name
        shape = (sample_ops.partials(vocab), ENTRY)
        tops = b.graph.add(Value("logprob_tops", shape, "u32", "io")).name
        if name == "logprob_top":
            b.op(name, b.logits(vocab), raw, tops)
            b.graph.outputs = (raw, tops)
        else:
            ring = Value("logprob_ring", (RING, ENTRY), "u32", "io")
            b.graph.outputs = (b.graph.add(ring).name,)
            b.op(name, raw, tops, b.tokens, ring.name)
        graphs.append(verify(b.graph))
    return graphs


TIGHTER = {"mixed4": "affine4-g64"}  # what gives way, where nobody asked for it, to what


def compile_within(budget, config, tensors=None, *, quant=None, **options):
    """`compile_model`; where no `quant` is asked for and the default's plan takes more than
    `budget` bytes (None: no limit), the default's smaller form."""
    model = compile_model(config, tensors, quant=quant, **options)
    over = budget is not None and model.plan.bytes_needed()["total"] > budget
    if quant is None and over and model.quant in TIGHTER:
        return compile_model(config, tensors, quant=TIGHTER[model.quant], **options)
    return model


def default_quant(config, tensors):
    """`keep` for files that are quantised already; for the rest the family's, else `mixed4`."""
    done = bool(Quantization.of(config)) if tensors is None else _is_quantised(tensors)
    family = models.families().get(str(hf_config.text_config(config).get("model_type")))
    return "keep" if done else getattr(family, "QUANT", "mixed4")


def _prefill_rows(context, family_rows=None):
    """PREFILL_ROWS, or what the family has instead at this context; none longer than that."""
    rows_of = family_rows(context) if family_rows else PREFILL_ROWS
    return sorted({min(rows, context) for rows in rows_of} - {1})


def saved_slots(context):
    """Copies of a model's recurrent state that the GPU keeps: the start of a turn, and with a long
    context also the end of its prompt."""
    return 1 if context <= DEFAULT_CONTEXT else 2


def renamed(tensors, family):
    """`tensors` under the names that the family's graph has for them."""
    if tensors is None:
        return None
    found = {}
    for name, ref in tensors.items():
        for pattern, new in getattr(family, "RENAMES", ()):
            name = re.sub(f"^{pattern}", new, name)
        found[name] = ref
    return found


def weights_of(tensors, kind_of, caps):
    """(Weights, list of the tensors that turn out to be missing)."""
    if tensors is None:
        return Weights(kind_of, most=caps.max_weight), []
    check, missing = _check_of(tensors)
    return Weights(kind_of, check, caps.max_weight), missing


def refuse_missing(missing):
    """Raises `E_MISSING_TENSOR` with the names, where there are any."""
    if missing:
        more = f" and {len(missing) - 8} more" if len(missing) > 8 else ""
        raise EngineError("E_MISSING_TENSOR", missing=", ".join(missing[:8]) + more)


def _context(wanted, most):
    if wanted is None:
        return min(most, DEFAULT_CONTEXT)
    if isinstance(wanted, bool) or not isinstance(wanted, int) or not 1 <= wanted <= most:
        raise EngineError(
            "E_BAD_REQUEST", param="context", got=wanted, wanted=f"a whole number from 1 to {most}"
        )
    return wanted


class _Tensors(dict):
    """While missing tensors are collected, a stand-in encoding keeps the builder going."""

    def __missing__(self, name):
        return _StandIn


class _StandIn:
    encoding = "f32"


def compile_model(
        config, tensors=None, *, quant=None, context=None, kv="f16", caps=None, fused=True,
        encodings=None, hybrid=None, speech=None, programs=None):
    """Plans a model from its Hugging Face config and, for loading, its {name: TensorRef}.

    Without tensors `encodings` {"matrix", "embedding"} (the latter of the head too) says what the
    file will hold; else the config's dtype does.
    `quant` is a `--quant` name or None for the default; `fused=False` leaves the graph as the model
    wrote it; `hybrid`: a `flags.Hybrid`; `speech`: attributes of the op `speech_mask`, for a voice
    model; `programs`: names of those to plan, with "decode", where not all are wanted. Raises
    `E_UNSUPPORTED_MODEL`, `E_UNSUPPORTED_CONFIG`, `E_UNSUPPORTED_TENSOR`, `E_MISSING_TENSOR`,
    `E_UNUSED_TENSOR`, `E_BAD_REQUEST`, `E_OUT_OF_MEMORY`."""
    caps, hybrid = caps or Caps(), hybrid or flags.HYBRID
    quant = quant or default_quant(config, tensors)
    if kv not in ("f16", "f32"):
        raise EngineError("E_BAD_REQUEST", param="kv", got=kv, wanted="f16 or f32")
    config = hf_config.text_config(config)
    family = models.find(config.get("model_type"))
    cfg = family.Config.from_hf(config)
    context = _context(context, cfg.max_context)
    tensors = renamed(tensors, family)
    weights, missing = weights_of(tensors, _kind_of(config, tensors, quant, encodings), caps)
    rows_of = _prefill_rows(context, getattr(family, "prefill_rows", None))
    consts, graphs, slack = {}, [], max(rows_of, default=1)
    for name, rows, build in _programs(family, cfg, rows_of, programs):
        b = Builder(name, rows, context, weights, kv, caps.max_binding, consts, slack,
                    apart="stack" in hybrid.apart, matrix_state=hybrid.delta_state)
        b.graph.outputs = (build(cfg, b),)
        apart = not (fused and caps.fused)
        graphs.append(verify(b.graph) if apart else _optimise(verify(b.graph), caps, hybrid))
        refuse_missing(missing)
    if tensors is not None:
        check_unused(tensors, weights.tensors, family)
    ring = _ring(graphs[0], context, slack)
    tails = _sampling_graphs(cfg.vocab, caps) + _speech_graphs(cfg.vocab, caps, slack, speech)
    graphs += [graph for graph in tails if not programs or graph.name in programs]
    plan = make_plan(graphs, weights, consts, caps, tensors, RING, saved_slots(context))
    return CompiledModel(
        plan, cfg, config["model_type"], context, cfg.vocab, quant, kv, tuple(graphs), ring
    )


def _programs(family, cfg, rows_of, wanted):
    """[(name, rows, build)]: decode, prefill by rows, and what the family has besides, of those
    that are `wanted` (None: all)."""
    found = [("decode", 1, family.build), *((f"prefill{r}", r, family.build) for r in rows_of),
             *(family.programs(cfg) if hasattr(family, "programs") else ())]
    return [row for row in found if not wanted or row[0] in wanted]


def _ring(graph, context, slack):
    """(positions, slack) of the shortest KV cache that is a ring and wraps, or None."""
    caches = {node.inputs[1] for node in graph.nodes
              if node.attr("window") and node.op == "attention"}
    lengths = [graph.values[name].shape[1] for name in caches]
    return min(((n, slack) for n in lengths if n < context), default=None)


def _optimise(graph, caps, hybrid):
    """The passes, each followed by `verify`."""
    cut = split_attention(graph, lambda node: split_attrs(node, graph.values, caps))

    def supported(node, g):
        return kernels.supported(node, g, caps)

    left = (kernels.hybrid.EPILOGUE,) if "norm" in hybrid.apart else ()
    fusions = [f for f in kernels.FUSIONS if f not in left]
    fused = verify(fuse(verify(cut), fusions, supported, lambda node: OPS[node.op].mutates))
    return fused if "conv" in hybrid.apart else verify(fold_conv(fused, supported))
