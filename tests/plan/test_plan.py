"""Plans: their golden text, their counts and bytes, and WebGPU's rules for bindings."""
import json
import re
from collections import Counter

import numpy as np
import pytest

from pyengine.compile import compile_model
from pyengine.ir.graph import Graph, Node, Value
from pyengine.ir.text import graph_text
from pyengine.ir.verify import verify
from pyengine.kernels.spec import Caps
from pyengine.models.builder import Weights
from pyengine.plan.plan import PARTS, SLICE
from pyengine.plan.schedule import bindings_of, make_plan
from tests.checkpoints import CONFIG, SPLIT, SPLIT_BINDING, checkpoint, config, refused, shapes

MIN = Caps()  # webgpu-min


def text_of(path):
    return json.loads(path.read_text())


def without_digests(text):
    """Golden plans name a pipeline by stem and variant: its WGSL has tests of its own."""
    return re.sub(r"#[0-9a-f]{8}\b", "", text)


# ---- goldens -------------------------------------------------------------------------------------


def test_tiny_llama(goldens, check_golden):
    model = compile_model(
        text_of(goldens / "models-tiny/llama/config.json"), quant="keep", context=128, caps=MIN
    )
    graphs = "".join(graph_text(graph) for graph in model.graphs)
    check_golden("plans/tiny_llama.txt", graphs + without_digests(model.plan.text()))


@pytest.fixture(scope="module")
def smollm2(goldens):
    return compile_model(
        text_of(goldens / "smollm2/config.json"), quant="affine4-g32", context=2048, caps=MIN
    )


def summary(model):
    """Bytes, how often each program starts which pipeline on which grid, and the first layer's and
    the last nodes' graph text."""
    lines = [f"{part} {nbytes}" for part, nbytes in model.plan.bytes_needed().items()]
    for name, dispatches in model.plan.programs.items():
        lines.append(f"program {name} {len(dispatches)}")
        kinds = Counter(
            (without_digests(model.plan.pipelines[d.pipeline].label), d.grid) for d in dispatches
        )
        lines += [
            f"  {n} x {label} {'x'.join(map(str, grid))}" for (label, grid), n in kinds.items()
        ]
    for graph in model.graphs:
        text = graph_text(graph).splitlines()
        kept = [line for line in text if not re.search(r"layers\.([1-9]|\d\d)\.", line)]
        lines += kept if len(kept) < 40 else kept[:20] + ["  ..."] + kept[-4:]
    return "\n".join(lines) + "\n"


def test_smollm2(smollm2, check_golden):
    check_golden("plans/smollm2_affine4_g32.txt", summary(smollm2))


def test_smollm2_takes_154_dispatches_a_token(smollm2, goldens):
    """5 a layer; 6 on a software device, which gains nothing from attention in parts."""
    assert smollm2.plan.dispatches("decode", "greedy") == 154
    assert smollm2.plan.dispatches("decode", "sample") - 154 <= 4
    software = compile_model(
        text_of(goldens / "smollm2/config.json"), quant="affine4-g32", caps=Caps(software=True)
    )
    assert software.plan.dispatches("decode", "greedy") == 184 <= 6 * 30 + 6


def test_plans_are_reproducible(goldens, smollm2):
    again = compile_model(
        text_of(goldens / "smollm2/config.json"), quant="affine4-g32", context=2048, caps=MIN
    )
    assert again.plan.text() == smollm2.plan.text()


# ---- bytes and bindings --------------------------------------------------------------------------


@pytest.mark.parametrize("quant", ["keep", "affine4-g32", "affine8-g64", "mixed4"])
def test_bytes_add_up(quant):
    plan = compile_model(CONFIG, quant=quant, caps=MIN).plan
    needed = plan.bytes_needed()
    assert (
        needed["total"]
        == sum(needed[part] for part in PARTS)
        == sum(b.nbytes for b in plan.buffers)
    )
    assert {b.part for b in plan.buffers} == set(PARTS)


def test_bytes_of_smollm2(smollm2):
    needed = smollm2.plan.bytes_needed()
    matrices = sum(
        n * k for n, k in (s for s in shapes(_sizes(smollm2.config)).values() if len(s) == 2)
    )
    # 4 bits and 32 a group of 32
    assert 5 / 8 * matrices <= needed["weights"] <= 1.03 * 5 / 8 * matrices
    assert needed["kv"] == 30 * 2 * 3 * 64 * 2048 * 2


def _sizes(c):
    return config(
        hidden_size=c.hidden,
        intermediate_size=c.width,
        num_hidden_layers=c.layers,
        vocab_size=c.vocab,
        num_attention_heads=c.heads,
        num_key_value_heads=c.kv_heads,
        head_dim=c.head_dim,
    )


def test_kv_precision_halves_the_cache():
    kv = [compile_model(CONFIG, kv=kv, caps=MIN).plan.bytes_needed()["kv"] for kv in ("f32", "f16")]
    assert kv[0] == 2 * kv[1] == 2 * 2 * 2 * 16 * 256 * 4


@pytest.mark.parametrize("which", ["tiny", "smollm2"])
def test_bindings_hold_webgpu_s_rules(which, smollm2):
    plan = (
        smollm2.plan if which == "smollm2" else compile_model(CONFIG, quant="keep", caps=MIN).plan
    )
    for dispatch in (d for program in plan.programs.values() for d in program):
        access = plan.pipelines[dispatch.pipeline].access
        assert len(access) == len(dispatch.operands) <= 8
        assert all(1 <= g <= 65535 for g in dispatch.grid)
        for o in dispatch.operands:
            assert o.offset % 256 == 0 and o.nbytes % 4 == 0 and 0 < o.nbytes <= MIN.max_binding
            assert o.offset + o.nbytes <= plan.buffers[o.buffer].nbytes
        for buffer in {o.buffer for o in dispatch.operands}:
            kinds = {a for a, o in zip(access, dispatch.operands) if o.buffer == buffer}
            assert len(kinds) == 1, (dispatch.node.op, plan.buffers[buffer].name)


def test_too_many_bindings():
    error = refused("E_INTERNAL", lambda: compile_model(CONFIG, caps=Caps(max_storage_buffers=6)))
    assert "7 storage buffers" in error.message


def test_too_large_a_binding():
    error = refused(
        "E_OUT_OF_MEMORY", lambda: compile_model(CONFIG, quant="keep", caps=Caps(max_binding=8192))
    )
    assert error.facts["needed"] == 2 * 256 * 16 * 2 and error.facts["available"] == 8192
    assert "self_attn.k" in error.facts["what"]  # weights can be cut, a cache cannot
    error = refused(
        "E_OUT_OF_MEMORY", lambda: compile_model(CONFIG, quant="keep", caps=Caps(max_buffer=8192))
    )
    assert error.facts["available"] == 8192
    huge = {**CONFIG, "max_position_embeddings": 1 << 40}
    error = refused("E_OUT_OF_MEMORY", lambda: compile_model(huge, context=1 << 36))
    assert "self_attn.k" in error.facts["what"] and error.facts["needed"] == 2 * 16 * 2 << 36


def test_a_row_larger_than_a_binding_allows():
    wide = config(hidden_size=1 << 21, head_dim=16, vocab_size=7, intermediate_size=32)
    refused("E_OUT_OF_MEMORY", lambda: compile_model(wide, quant="keep", context=16, caps=MIN))


def aliased(*names):
    """A graph whose rope_kv gets `names` for its two caches."""
    g = Graph("g", 1)
    for value in (
        Value("qkv", (1, 64), "f32", "io"),
        Value("coarse", (1, 8, 2), "f32", "const"),
        Value("fine", (64, 8, 2), "f32", "const"),
        Value("a", (1, 16, 16), "f32", "state"),
        Value("b", (1, 16, 16), "f32", "state"),
        Value("state", (32,), "u32", "io"),
        Value("q", (1, 32), "f32"),
    ):
        g.add(value)
    attrs = (("head_dim", 16), ("heads", 2), ("kv_heads", 1))
    g.nodes = [Node("rope_kv", ("qkv", "coarse", "fine", *names, "state"), ("q",), attrs)]
    return verify(g)


def test_aliases_are_refused():
    weights = Weights(None)
    assert make_plan([aliased("a", "b")], weights, {}, MIN).dispatches("g") == 1
    error = refused("E_INTERNAL", lambda: make_plan([aliased("a", "a")], weights, {}, MIN))
    assert "rope_kv: a aliases a" in error.message


def test_bindings_are_read_from_the_shader():
    code = (
        "@group(0) @binding(1) var<storage, read_write> y: array<f32>;\n"
        "@group(0) @binding(0)  var<storage, read> x: array<f32>;\n@group(0) @binding(2) var<uniform> u: U;"
    )
    assert bindings_of(code) == ("read", "read_write", "uniform")
    error = refused("E_INTERNAL", lambda: bindings_of(code.replace("binding(1)", "binding(3)")))
    assert "[0, 2, 3] are not 0..2" in error.message


def test_a_row_that_no_slice_holds():
    row = SLICE // 4 + 64
    c = config(hidden_size=row, num_hidden_layers=1, vocab_size=1, intermediate_size=1, head_dim=2,
               num_attention_heads=1, num_key_value_heads=1)
    source = checkpoint(c, {n: np.zeros(s, np.float32) for n, s in shapes(c).items()})
    caps = Caps(max_binding=1 << 33, max_buffer=1 << 33, max_grid=1 << 30)
    error = refused("E_UNSUPPORTED_TENSOR", lambda: compile_model(
        c, source.tensors, quant="keep", context=1, caps=caps))
    assert f"one row has {4 * row} bytes" in error.message


def cut(caps, **changes):
    """[(name, parts as (tensor's last name, first, rows))] of the weight buffers of SPLIT."""
    c = {**SPLIT, **changes}
    model = compile_model(c, checkpoint(c).tensors, quant="keep", context=64, caps=caps)
    found = {}
    for u in model.plan.uploads:
        found.setdefault(model.plan.buffers[u.buffer].name, []).append((u.tensor, u.row0, u.rows))
    return model.plan, found


def test_matrices_larger_than_a_binding_are_cut():
    plan, found = cut(Caps(max_binding=SPLIT_BINDING))
    gate, up = (f"model.layers.0.mlp.{p}_proj.weight" for p in ("gate", "up"))
    assert sorted(found[f"{gate}+{up}"]) == [(gate, 0, 256), (up, 256, 32)]
    assert found[f"{up}[32:]"] == [(up, 0, 224)]
    parts = [b for b in plan.buffers if b.part == "weights"]
    assert all(b.nbytes <= SPLIT_BINDING for b in parts)
    whole, _ = cut(Caps())
    assert plan.bytes_needed()["weights"] == whole.bytes_needed()["weights"]
    offsets = {(u.tensor, u.offset) for u in plan.uploads}
    assert len(offsets) == len(plan.uploads)


def test_matrices_larger_than_a_buffer_are_cut():
    """As the default limits cut an 8-bit table of 248,320 x 1024: no buffer holds its 270 MB."""
    caps = Caps(max_binding=1 << 30, max_buffer=5 << 20)
    plan, found = cut(caps, vocab_size=6000)
    table = "model.embed_tokens.weight"
    assert found[table] == [(table, 0, 5120)] and found[f"{table}[5120:]"] == [(table, 0, 880)]


def test_the_default_limits_hold_a_table_of_248320_by_1024():
    c = config(hidden_size=1024, vocab_size=248320, num_hidden_layers=1)
    plan = compile_model(c, quant="mixed4", context=256, caps=MIN).plan
    table = [b.nbytes for b in plan.buffers if b.name.startswith("model.embed_tokens")]
    assert sum(table) == 248320 * (1024 + 1024 // 64 * 4) and max(table) <= 128 << 20
    assert plan.dispatches("decode") == 5 + 3 + 1 + 3  # layer, table, norm, head


def test_heads_are_never_cut():
    """Their rows may change places while loading."""
    plan, _ = cut(Caps(max_binding=SPLIT_BINDING), head_dim=36, num_attention_heads=10)
    q = [u for u in plan.uploads if "q_proj" in u.tensor]
    assert [u.rows for u in q] == [288, 72] and all(u.rows % 36 == 0 for u in q)
