"""Attention of one row in parts along the cache (flash decoding), for GPUs: short rows lose
nothing, long ones are read by many workgroups at once."""
from pyengine.ir import split_ops  # noqa: F401  registers its ops
from pyengine.kernels.spec import (KernelSpec, Launch, NodeView, Tunable, ceil_div, features_of,
                                   subgroup_constants, variants)
from pyengine.passes.fuse import Fusion

SPLITS = 32     # parts at most: beyond SPLITS * SPAN positions each takes more
SPAN = 64       # positions of a part
THREADS = ({"threads": 128}, {"threads": 64}, {"threads": 256})
TUNED_AT = 2047  # position at which THREADS are compared
VARIANTS = {rope: variants(kv=("f16", "f32"), rope=(rope,)) for rope in (False, True)}

FUSIONS = (
    # operands spliced as (qkv, coarse, fine, k, v, k, v, state)
    Fusion("rope_kv", "attention_parts", 0, "rope_attention_parts", order=(0, 1, 2, 3, 4, 7)),
    Fusion("attention_combine", "sigmoid_gate", 0, "gated_combine"),
)


def split_attrs(node, values, caps):
    """{splits, span} with which this attention node is worth cutting; None where it is not: several
    rows fill a GPU by themselves, and a software device gains nothing from more workgroups."""
    q, cache = values[node.inputs[0]], values[node.inputs[1]]
    _, context, d = cache.shape
    lot = 8 if cache.dtype == "f16x2" else 4
    if caps.software or q.shape[0] != 1 or {key for key, _ in node.attrs} != {"scale"} or d % lot:
        return None
    if d > lot * min(choice["threads"] for choice in THREADS):
        return None
    return {"splits": min(SPLITS, ceil_div(context, SPAN)), "span": SPAN}


def parts_constants(attrs):
    """The constants of common/parts.wgsl."""
    return {"HEADS": attrs["heads"], "D": attrs["head_dim"], "SPLITS": attrs["splits"],
            "SPAN": attrs["span"]}


def _tunable(rope):
    def tunable(node, values, caps):
        q, cache = (values[node.inputs[i]] for i in (0, 3 if rope else 1))
        key = f"{node.op} {q.shape[1]} over {cache.dtype} {cache.shape[0]}x{cache.shape[2]}"
        pos = min(TUNED_AT, cache.shape[1] - 1)
        return Tunable.featured(key, THREADS, caps, ("subgroups",), pos)
    return tunable


def _launch_parts(rope):
    tunable = _tunable(rope)

    def launch(node, values, caps):
        view = NodeView(node, values)
        q, cache = view[0], view[3 if rope else 1]
        attrs = view.attrs
        if not attrs.get("rotate", True) or attrs.get("interleaved") or "frames" in attrs:
            return None
        kv_heads, context, d = cache.shape
        heads = view.attrs["heads"] if rope else q.shape[1] // d
        splits, choice = view.attrs["splits"], caps.choice(tunable(node, values, caps))
        features = features_of(choice)
        constants = {**parts_constants({**view.attrs, "heads": heads, "head_dim": d}),
                     "KV_HEADS": kv_heads, "CONTEXT": context,
                     "THREADS": choice["threads"], **subgroup_constants(features, caps),
                     "SCALE": float(view.attrs["scale"])}
        if rope:
            constants |= {"HALF": view[1].shape[1], "FINE": view[2].shape[0]}
        kv = "f16" if cache.dtype == "f16x2" else "f32"
        return Launch({"kv": kv, "rope": rope}, constants, (heads, splits, 1), features, True)
    return launch


def _launch_combine(node, values, caps):
    attrs, gate = dict(node.attrs), node.op == "gated_combine"
    quads = attrs["heads"] * attrs["head_dim"] // 4
    return Launch({"gate": gate}, parts_constants(attrs), (ceil_div(quads, 64), 1, 1))


SPECS = (
    KernelSpec("attention_parts", "attention_parts", _launch_parts(False), VARIANTS[False],
               _tunable(False)),
    KernelSpec("rope_attention_parts", "attention_parts", _launch_parts(True), VARIANTS[True],
               _tunable(True)),
    *(KernelSpec(op, "attention_combine", _launch_combine, ({"gate": op == "gated_combine"},))
      for op in ("attention_combine", "gated_combine")),
)
