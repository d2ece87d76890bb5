"""What a page compiles of the self-test while Python boots: the shaders that Python's plans have, for
every kind of model and GPU, and in a first start none of them twice."""
import hashlib
import json

import pytest

from app.build import wheels
from pyengine import selftest
from pyengine import selftest_kernels as sk
from pyengine.caps import Caps
from pyengine.plan import stored
from tests.support import link_site

# A GPU that hears what it is to compile ahead; -> digests of the shaders, null for none
GUESS = """async ({ facts, model, variants, files }) => {
    const { compileAhead } = await import("./js/selftest_ahead.js");
    let found = null;
    const gpu = { describe: () => JSON.stringify(facts), compileAhead: (rows) => (found = rows) };
    const reader = ([name, bytes]) => ({ name, size: bytes.length,
        read: async (begin, length) => Uint8Array.from(bytes).slice(begin, begin + length) });
    const asked = [];
    const kept = async (key) => void asked.push(key);
    await compileAhead(gpu, { site: new URL("./", location).href, model, variants, kept,
        readers: files ? files.map(reader) : new Promise(() => {}) });
    const digest = async ([code, access]) => {
        const bytes = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(access + code));
        return [...new Uint8Array(bytes)].map((b) => b.toString(16).padStart(2, "0")).join("");
    };
    return { key: asked[0] ?? null, shaders: found && (await Promise.all(found.map(digest))) };
}"""
FACTS = {"vendor": "nvidia", "software": False, "f16": True, "subgroups": True, "subgroup": 32, "identity": "a browser"}
# Notes what the engine's worker compiles; Python's start waits for so many, however slow the machine is at the model's files
NOTED = """{
    const create = GPUDevice.prototype.createComputePipelineAsync, { instantiateStreaming } = WebAssembly;
    let go;
    const begun = Promise.race([new Promise((resolve) => (go = resolve)), new Promise((late) => setTimeout(late, 30_000))]);
    self.compiled = [];
    GPUDevice.prototype.createComputePipelineAsync = function (given) {
        if (compiled.push(given.label) === LEAST) go();
        return create.call(this, given);
    };
    WebAssembly.instantiateStreaming = (...given) => begun.then(() => instantiateStreaming(...given));
}
"""
LOAD = """async () => {
    const { createEngine } = await import("./jird.js");
    window.engine = await createEngine({ model: new URL("check/llama/", location).href, context: 128, tune: false });
    return (await engine.stats()).device;
}"""
KEYS = """async () => {
    const request = indexedDB.open("jird-tuning");
    await new Promise((done) => (request.onsuccess = done));
    const all = request.result.transaction("choices").objectStore("choices").getAll();
    await new Promise((done) => (all.onsuccess = done));
    return all.result.map(({ key }) => key).filter((key) => key.startsWith("selftest"));
}"""


@pytest.fixture(scope="module")
def built(dist):
    """({tiny model: its stored plans}, every template, the version of the kernels) of the site."""
    (wheel,) = (dist / "pyodide").glob("jird-*.whl")
    plans, rendered = wheels.built_plans(wheel)
    key = json.loads((dist / "selftest.json").read_text())["key"]
    return {name: sk.unpacked(data)["plans"] for name, data in plans.items()}, rendered, key


def expected(built, name, facts, variants):
    """Digests of what Python compiles of its self-test on such a device."""
    plans, rendered, _ = built
    caps = Caps(f16=facts["f16"], subgroups=facts["subgroups"], subgroup=facts["subgroup"], variants=variants,
                vendor=facts["vendor"], backend="webgpu")
    plan = {**json.loads(plans[name][str(sk.plain(caps))]), "consts": {}}
    found = [*selftest.probe_plan(selftest.pipelines(caps)).pipelines, *stored.restore(plan, rendered).pipelines]
    return {hashlib.sha256((",".join(p.access) + p.code).encode()).hexdigest() for p in found}


def config_file(**config):
    return ["config.json", list(json.dumps(config).encode())]


def gguf_file(architecture):
    head = b"GGUF\x03\0\0\0" + bytes(16) + len("general.architecture").to_bytes(8, "little") + b"general.architecture"
    value = (8).to_bytes(4, "little") + len(architecture).to_bytes(8, "little") + architecture.encode()
    return ["model.gguf", list(head + value + bytes(5000))]


@pytest.mark.parametrize(("name", "model", "files"), [
    ("llama-mixed", "smollm2-135m-instruct", None),
    ("qwen3_5-mlx4", "mlx-community/Qwen3.5-0.8B-MLX-4bit", None),
    ("gemma3-mixed", "any/thing", [config_file(model_type="gemma3", text_config={"model_type": "gemma3_text"})]),
    ("qwen2-mlx4", "any/thing", [["model.safetensors", [0]], config_file(model_type="qwen2", quantization={"bits": 4})]),
    ("llama-mixed", "any/thing", [config_file(model_type="nobody_has_heard_of_it")]),
    ("qwen3_5-mixed", "any/thing", [gguf_file("qwen35")]),
    ("llama-mixed", "any/thing", [["model.gguf", [1, 2, 3]]]),
])
def test_it_guesses_what_python_will_ask_for(page, dist, serve, built, name, model, files):
    page.goto(serve(dist).url + "version.json")

    def guess(facts=(), variants=None):
        return page.evaluate(GUESS, {"facts": {**FACTS, **dict(facts)}, "model": model, "files": files,
                                     "variants": ",".join(variants) if variants else variants})

    for facts in ({}, {"vendor": "apple", "subgroup": 4}, {"f16": False, "subgroups": False}, {"subgroup": 64}):
        for variants in (None, ("f16",), ("f16", "subgroups")):
            found = guess(facts, variants)
            wanted = expected(built, name, {**FACTS, **facts}, variants)
            assert set(found["shaders"]) == wanted and len(found["shaders"]) == len(wanted)
    assert guess()["key"] == f"{built[2]}|subgroups|{name}|a browser"
    odd = guess({"subgroup": 8192})  # of no size that the build plans for
    assert set(odd["shaders"]) < wanted
    assert guess({"software": True})["shaders"] is None


def test_a_first_start_compiles_nothing_twice(page, dist, tmp_path, serve, built):
    kernels = json.loads(built[0]["llama-mlx4"][str(sk.plain(Caps()))])["pipelines"]
    site = link_site(dist, tmp_path / "site")
    worker = site / "engine_worker.js"
    least = 2 + len(kernels)  # chain, kv_f16
    worker.write_text(NOTED.replace("LEAST", str(least)) + worker.read_text())
    (site / "blank.html").write_text("<!doctype html><title>blank</title>")
    page.goto(serve(site).url + 'blank.html?gpuFaults={"noInfo":true}')
    device = page.evaluate(LOAD)
    assert not device["selftest"]["cached"] and device["selftest"]["off"] == [] and device["selftest"]["kernels_ms"] > 0
    (engine,) = [worker for worker in page.workers if "engine_worker.js" in worker.url]
    compiled = engine.evaluate("compiled")
    ahead = [label for label in compiled if label == "ahead"]
    probes = ["chain", "kv_f16"] + ["subgroups"] * device["subgroups"] + ["f16"] * device["f16"]
    assert len(ahead) == len(probes) + len(kernels), compiled
    later = [label for label in compiled if label != "ahead"]
    assert not [label for label in later if label.startswith("selftest.")]
    # the tiny model is what is loaded, for a larger device: what both have would come a third time
    assert len(later) == len(set(later)), later
    (key,) = page.evaluate(KEYS)
    assert key.startswith(f"{built[2]}||llama-mlx4|") and "Chrome" in key
    page.evaluate("engine.unload()")


def test_what_was_begun_is_given_once_and_dropped_when_a_runner_is_closed(page, dist, serve):
    page.goto(serve(dist).url + "version.json")
    found = page.evaluate("""async () => {
        const { Compiler, Pipelines } = await import("./js/gpu_pipelines.js");
        const made = [], device = {
            pushErrorScope() {}, popErrorScope: async () => null, createBindGroupLayout: () => ({}), createPipelineLayout: () => ({}),
            createShaderModule: ({ code }) => code, createComputePipelineAsync: async ({ compute }) => void made.push(compute.module),
        };
        const compiler = new Compiler(device);
        compiler.ahead([["a", ["read"]], ["b", ["read"]], ["c", ["read"]]]);
        const plan = (...codes) => Pipelines.begun(device, compiler,
            { pipelines: codes.map((code) => [code, code, ["read"]]), late: [], uploads: [] }, { wait: (promise) => promise }, () => null, () => {});
        const other = plan("a", "d");
        plan("a", "b").close();
        await plan("c").ready();
        await other.ready();
        return made.join("");
    }""")
    assert found == "abc" + "d" + "a" + "c"
