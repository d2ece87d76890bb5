"""Every shader on both WGSL front ends: Tint, which Chromium has, and naga, which Firefox and
wgpu-py have. Each refuses what the other takes."""

import asyncio
from functools import cache
from dataclasses import replace

import pytest

from pyengine import kernels
from pyengine.compile import compile_model
from pyengine.device.native import NativeDevice
from pyengine.errors import EngineError
from pyengine.flags import FEATURES
from pyengine.formats.checkpoint import open_path
from pyengine.kernels import source
from pyengine.kernels.repack import kernel_launch, place_launch, repack_launch
from pyengine.kernels.spec import Caps
from pyengine.quant.kinds import WeightKind, for_encoding
from tests.kernels import op_cases, tint
from tests.kernels.one_op import graph_of

CAPS = (Caps(software=True), Caps(), Caps(f16=True, subgroups=True, variants=FEATURES))
GOLDENS = ("models-tiny/llama", "models-real-heads/llama")


def launches(graph):
    """Each (spec, launch) of a graph of one node: on both sorts of caps, with every choice."""
    node, values = graph.nodes[0], graph.values
    for caps in CAPS:
        try:
            spec, launch = kernels.choose(node, values, caps)
        except EngineError:  # what fusion does not make there
            continue
        yield spec, launch
        tunable = spec.tunable(node, values, caps)
        for candidate in tunable.candidates if tunable else ():
            yield kernels.choose(node, values, replace(caps, tuning={tunable.key: candidate}))


@cache
def op_shaders():
    """{variant key: [first and last shader that the op cases launch]}."""
    found = {}
    for cases in op_cases.groups().values():
        for case in cases:
            graph, _ = graph_of(case)
            for spec, launch in launches(graph):
                key = source.variant_key(spec.stem, launch.variant)
                key = key, launch.features
                found.setdefault(key, [(spec.stem, launch)])[1:] = [(spec.stem, launch)]
    return {key: [source.wgsl(*pair) for pair in pairs] for key, pairs in found.items()}


def repack_shaders():
    """{variant key: [shader]} of every pair of encoding and kind that repack takes."""
    found = {}
    kinds = [WeightKind.parse(name) for name in op_cases.KINDS]
    for kind in (kind for kind in kinds if kind.family == "affine"):
        for part in ("codes", "scales", "biases"):
            launch = place_launch(part, 768, kind)
            key = source.variant_key("repack", launch.variant)
            found.setdefault(key, []).append(source.wgsl("repack", launch))
    for encoding in kernels.repack.FLOATS + kernels.repack.BLOCKED:
        for kind in kinds:
            for head_dim in (0, 64):
                try:
                    launch = repack_launch(encoding, 768, kind, head_dim)
                except EngineError:
                    continue
                key = source.variant_key("repack", launch.variant)
                found.setdefault(key, []).append(source.wgsl("repack", launch))
    for encoding in kernels.repack.FLOATS:
        launch = kernel_launch(encoding, 27, 11, 28)
        key = source.variant_key("repack", launch.variant)
        found.setdefault(key, []).append(source.wgsl("repack", launch))
    assert for_encoding("q6_k", 768) in kinds
    return found


def model_plans(goldens, gguf):
    """Plans of both tiny models, as they are and quantised, and of the site's own model."""
    for name in GOLDENS:
        checkpoint = asyncio.run(open_path(str(goldens / name)))
        for quant, kv in (("keep", "f32"), ("mixed4", "f16"), ("affine8-g64", "f16")):
            for caps in CAPS:
                yield compile_model(checkpoint.config, checkpoint.tensors, quant=quant, kv=kv,
                                    context=512, caps=caps).plan
    if gguf is not None:
        checkpoint = asyncio.run(open_path(str(gguf)))
        for caps in CAPS:
            yield compile_model(checkpoint.config, checkpoint.tensors, caps=caps).plan


@pytest.fixture(scope="module")
def shaders(goldens):
    """{name: text}, each text once."""
    from app.build import settings
    gguf = next(settings.DIST.glob("models/*/*.gguf"), None)
    found = {}
    for shaders in (op_shaders(), repack_shaders()):
        for key, texts in shaders.items():
            found.update({text: f"{key} {i}" for i, text in enumerate(texts)})
    for plan in model_plans(goldens, gguf):
        found.update({p.code: p.label for p in plan.pipelines})
    return {f"{name} #{i}": text for i, (text, name) in enumerate(found.items())}


def test_every_variant_is_launched_by_some_case(goldens):
    """No template is rendered for nothing, and none goes unseen by the tests of the ops."""
    launched = {key for key, _ in op_shaders()} | set(repack_shaders())
    every = {source.variant_key(stem, variant) for stem, found in kernels.every_template()
             for variant in found
             if not stem.startswith(("sample_", "logprob_", "mask_", "stride_", "frame_",
                                     source.REDUCE))}
    assert launched == every


def test_a_plan_holds_every_sampling_kernel(goldens):
    labels = {p.label.split("#")[0] for p in next(model_plans(goldens, None)).pipelines}
    stems = {stem for stem, _ in kernels.every_template() if stem.startswith(("sample_", "logprob_", "mask_"))}
    assert stems <= labels


def test_tint_takes_all_without_a_warning(shaders):
    assert tint.errors(shaders, ("error", "warning")) == {}


def test_naga_takes_all(shaders):
    """wgpu-py has no warnings to ask for; errors are exceptions."""
    wgpu = pytest.importorskip("wgpu")
    try:
        device = asyncio.run(NativeDevice.create())
    except EngineError as error:
        pytest.skip(f"no native GPU adapter: {error}")
    refused = {}
    for name, text in shaders.items():
        try:
            device.device.create_shader_module(code=text.replace("enable subgroups;\n", ""))
        except wgpu.GPUError as error:
            refused[name] = str(error)[:500]
    device.close()
    assert refused == {}


def test_no_template_enables_a_feature_or_takes_a_storage_pointer(shaders):
    """Features are a launch's, not a template's; naga has no unrestricted pointer parameters."""
    assert not any("enable " in text for text in source.render_all().values())
    for name, text in shaders.items():
        assert "ptr<storage" not in text, name
    for feature in FEATURES:
        assert any(f"enable {feature};" in text for text in shaders.values())


def test_tint_reports_a_warning(shaders):
    """The check above would see one."""
    text = next(iter(shaders.values())) + "\nfn idle() { return; let x = 1u; }\n"
    assert "unreachable" in str(tint.errors({"dead code": text}, ("error", "warning")))
