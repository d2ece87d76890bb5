"""The engine on a browser's GPU that fails: the golden text all the same, or a coded error."""
import time

import numpy as np
import pytest

from tests.browser import faults_in_page as in_page
from tests.browser.engine_page import EnginePage
from tests.browser.test_engine_web import module_serve  # noqa: F401  a fixture

TINY = "models-tiny/llama"
COUNT = 13
SMALL = {"maxStorageBuffersPerShaderStage": 8, "maxStorageBufferBindingSize": 128 << 20,
         "maxBufferSize": 256 << 20}


@pytest.fixture(scope="module")
def engine(browser, dist, goldens, module_serve):  # noqa: F811
    page = EnginePage(browser, module_serve(dist).url, goldens)
    yield page
    assert page.errors == []
    page.close()


def survived(engine, goldens, options, **plants):
    golden = np.load(goldens / TINY / "golden.npz")
    found = engine.run(in_page.survived, folder=TINY, ids=golden["ids"].tolist(), count=COUNT,
                       options=options, **plants)
    assert found.get("ids") == golden["greedy32"][:COUNT].tolist(), found
    assert found["left"] == 0 and not any(found["live"].values()) and not found["numpy"]
    return found["device"]


@pytest.fixture(scope="module")
def silent_ms(engine, goldens):
    """How long a GPU may answer nothing: as long as a whole run takes here, so no call does."""
    began = time.monotonic()
    survived(engine, goldens, {})
    return max(2500, round(1000 * (time.monotonic() - began)))


@pytest.mark.parametrize(("options", "layout"), [
    ({"zerosAfter": 1}, (1, 1)), ({"zerosAfter": 16}, (1, 8)), ({"zerosAfter": 256}, (1, 256)),
    ({"zerosAfter": 40, "per": "pass"}, (1, 32))], ids=str)
def test_zeros_after_some_dispatches(engine, goldens, options, layout):
    device = survived(engine, goldens, options)
    assert (device["passes_per_submit"], device["dispatches_per_submit"]) == layout


@pytest.mark.parametrize("kind", ["lost", "map", "memory", "validation"])
@pytest.mark.parametrize("after", [0, 7])
def test_a_failure_while_it_writes(engine, goldens, kind, after):
    plant, calls = {"kind": kind, "after": after}, {"map": "mapAsync", "validation": "createCommandEncoder"}
    if kind in calls:  # of any call it might meet a late kernel's, which is made again without harm
        plant |= {"call": calls[kind], "after": after // 4}
    device = survived(engine, goldens, {}, plants=[plant])
    assert device["rebuilds"] == 1 and device["mode"] == "normal"


@pytest.mark.parametrize(("kind", "call"), [
    ("lost", "createBuffer"), ("lost", "createComputePipelineAsync"), ("lost", "submit"),
    ("memory", "createBuffer"), ("validation", "createBindGroup"), ("map", "mapAsync"),
    ("lost", "onSubmittedWorkDone")])
def test_a_failure_while_it_loads(engine, goldens, kind, call):
    device = survived(engine, goldens, {}, load_plants=[
        {"kind": kind, "call": call, "after": int(call != "onSubmittedWorkDone")}])
    assert device["rebuilds"] == 1


@pytest.mark.parametrize("plants", [
    {"plants": [{"kind": "hang", "call": "mapAsync", "after": 2}]},
    {"load_plants": [{"kind": "hang", "call": "createComputePipelineAsync", "after": 2}]},
    *(pytest.param({"load_plants": [plant]}, marks=pytest.mark.long) for plant in (
        {"kind": "hang", "call": "onSubmittedWorkDone"},
        {"kind": "hang", "call": "createBuffer", "after": 30}))], ids=str)
def test_a_gpu_that_answers_no_more(engine, goldens, silent_ms, plants):
    device = survived(engine, goldens, {"silentMs": silent_ms}, **plants)
    assert device["mode"] == "safe" and "stopped answering" in device["notice"]


@pytest.mark.parametrize("options", [{"hangingAdapters": 9}, {}])
def test_a_gpu_that_never_answers_is_told(engine, silent_ms, options):
    hang = {"kind": "hang", "call": "createBuffer", "times": 999}
    began = time.monotonic()
    found = engine.run(in_page.survived, folder=TINY, ids=[1], count=1, load_plants=[hang],
                       options={"silentMs": silent_ms, **options})
    more = max(5, silent_ms / 1e3)  # a slow machine gives longer silence
    assert found["code"] == "E_NO_ANSWER" and time.monotonic() - began < 2 * silent_ms / 1e3 + more


def test_a_browser_that_offers_little(engine, goldens):
    options = {"nullAdapters": 2, "noInfo": "subgroups", "limits": SMALL,
               "without": ["shader-f16", "subgroups", "timestamp-query"]}
    device = survived(engine, goldens, options)
    assert not device["f16"] and not device["subgroups"]
    found = engine.run(in_page.tested, options={**options, "noInfo": True})
    assert found["vendor"] == "" and found["max_binding"] == 128 << 20 and found["storage"] == 8 and found["off"] == []


def test_the_self_test_of_a_sound_gpu_uses_the_whole_command_buffer(engine):
    found = engine.run(in_page.tested, options={})
    assert found["layout"] == [1, 2048] and found["off"] == []
    everything = engine.run(in_page.tested, options={"noInfo": "subgroups"}, full=True)
    assert all(row["right"] for row in everything["rows"]) and len(everything["rows"]) > 20


def test_a_start_of_the_built_site_need_not_plan_the_tiny_model(engine):
    assert engine.run(in_page.built_plans) == [49, 49]


def test_a_wrong_f16_kernel_turns_f16_off(engine):
    found = engine.run(in_page.tested, options={"wrong": ["f16(1.0)", "f16(2.0)"]})
    sound = engine.run(in_page.tested, options={})
    if not sound["f16"]:
        pytest.skip("this browser's GPU has no shader-f16")
    assert found["off"] == ["f16"] and not found["f16"]


def test_three_losses_are_safe_mode(engine, goldens):
    losses = [{"kind": "lost", "call": "mapAsync", "after": n} for n in (0, 1, 2)]
    device = survived(engine, goldens, {}, plants=losses)
    assert device["mode"] == "safe" and "safe mode" in device["notice"]
    assert device["dispatches_per_submit"] == 64
