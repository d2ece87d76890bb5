"""The benchmark without any timing: runner, kit, tables, models of random weights."""

import functools
import json
import math
import shlex
import subprocess
import sys
import time
from pathlib import Path

import pytest

from app.build import bench, settings
from app.build.console import BuildError
from tests import checkpoints
from tests.bench import processes, random_model, report
from tests.support import WAIT_S, wait_until

HERE = Path(__file__).parent
BROWSER = {
    "user_agent": "Mozilla/5.0 Chrome/156.0.0.0",
    "adapter": {"vendor": "google", "architecture": "swiftshader", "device": ""},
}
JIRD = [
    ["browser", BROWSER],
    ["load", {"ms": 4000}],
    ["info", {"version": "1.2", "path": "WebGPU", "dispatches_per_token": 200}],
    ["first_answer", {"ttft_ms": 55}],
    ["decode.64", {"tps": 500.0, "runs": 1, "tokens": 9}],
    ["prefill.128", {"tps": 9000.0, "first_tps": 8000.0, "ttft_ms": 14.2}],
    ["memory", {"gpu": {"weights": 100_000_000, "total": 222_000_000}}],
]
WLLAMA = [
    ["browser", BROWSER],
    ["load", {"ms": 2500}],
    ["info", {"version": "3", "path": "WASM, 2 threads"}],
    ["decode.64", {"tps": 50.0, "runs": 1, "tokens": 9}],
    ["decode.512", {"failed": "timed out at 7 s"}],
    [
        "memory",
        {"reported": ["CPU model buffer size =  92.00 MiB", "CPU KV buffer size = 8.00 MiB"]},
    ],
]
LIMITS = {
    "dispatch_us": 5.0,
    "encode_us": 2.0,
    "read_gb_s": 2000.0,
    "submit_ms": 0.1,
    "readback_ms": 0.2,
    "upload_gb_s": 3.0,
}


# ---- runner --------------------------------------------------------------------------------------


@pytest.fixture
def kit(tmp_path, monkeypatch):
    """A kit of the pages and the runner alone, beside fake folders that a whole one needs."""
    monkeypatch.setattr(bench, "WORK", tmp_path / "bench")
    monkeypatch.setattr(bench, "VENDOR", {})
    monkeypatch.setattr(bench, "onnx_folder", lambda: tmp_path / "onnx")
    (tmp_path / "onnx").mkdir()
    monkeypatch.setattr(settings, "DIST", tmp_path / "dist")
    (tmp_path / "dist/models").mkdir(parents=True)
    (tmp_path / "dist/index.html").write_text("shell")
    (tmp_path / "bench").mkdir()
    return lambda **absent: bench.pack(absent or {"wllama": "no npm", "transformers.js": "no ONNX"})


@functools.cache
def limit_s():
    """Seconds of silence that end a peer: more than the fake browser takes to begin, which is a
    Python that imports urllib."""
    began = time.monotonic()
    subprocess.run([sys.executable, "-c", "import urllib.request"], check=True)
    return max(3, math.ceil(8 * (time.monotonic() - began)))


def run(kit, script, only, tmp_path, *arguments):
    """Result of the kit's own run.py with a scripted browser."""
    command = command_of(script, only, tmp_path, *arguments)
    done = subprocess.run(command, cwd=kit, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def command_of(script, only, tmp_path, *arguments):
    (tmp_path / "script.json").write_text(json.dumps(script))
    fake = shlex.join(
        [sys.executable, str(HERE / "fake_browser.py"), str(tmp_path / "script.json")]
    )
    code = "import sys; sys.argv[0] = 'run.py'; import run; run.GRACE_S = 0; sys.exit(run.main())"
    return [
        sys.executable,
        "-c",
        code,
        "--browser",
        f"{fake} {{url}}",
        "--only",
        only,
        "--pages",
        "compare",
        "--limit",
        str(limit_s()),
        *arguments,
    ]


def test_each_peer_is_written_when_it_ends_and_others_are_kept(kit, tmp_path):
    folder, out = kit(other="nothing"), tmp_path / "made" / "result.json"
    script = {"jird": JIRD, "wllama": [*WLLAMA[:4], ["hang", 0]]}
    command = command_of(script, "jird,wllama", tmp_path, "--out", str(out))
    running = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL)
    wait_until(out.exists)
    assert list(json.loads(out.read_text())["results"]) == ["jird"] and running.poll() is None
    running.terminate()
    running.wait()
    only = {"transformers-wasm": WLLAMA[:2]}
    arguments = ("transformers-wasm", tmp_path, "--out", str(out), "--add")
    found = run(folder, only, *arguments)["results"]
    assert list(found) == ["jird", "transformers-wasm"]
    assert json.loads(out.read_text())["results"] == found


def test_a_run_collects_what_each_page_reports(kit, tmp_path):
    folder = kit(other="nothing")
    script = {
        "jird": JIRD,
        "wllama": [*WLLAMA[:4], ["hang", 0]],
        "wllama-wasm": [["load", {"ms": 1}], ["die", 0]],
        "transformers-wasm": WLLAMA[:2],
    }
    result = run(folder, script, ",".join(script), tmp_path)
    found = result["results"]
    assert list(found) == list(script)
    assert found["jird"]["decode.64"]["tps"] == 500 and "failed" not in found["jird"]
    assert found["wllama"]["decode.64"]["tps"] == 50
    assert found["wllama"]["failed"] == f"silent for {limit_s()} s: ended"
    assert found["wllama-wasm"]["load"] == {"ms": 1}
    assert found["wllama-wasm"]["failed"] == "the browser ended with status 0"
    assert found["transformers-wasm"]["load"] == {"ms": 2500}  # in a browser of its own


def test_the_browser_is_ended_with_all_its_processes(tmp_path):
    sleep = "[sys.executable, '-c', 'import time; time.sleep(60)']"
    nested = f"import subprocess, sys; subprocess.run({sleep})"
    command = shlex.join([sys.executable, "-c", nested])
    with processes.Browser(command, "unused") as browser:
        leader = browser._process.pid
        wait_until(lambda: len(processes.session(leader)) == 2)
        wait_until(lambda: all(processes.proportional_bytes(pid) > 1 << 20
                               for pid in processes.session(leader)))  # its Python is in memory
    assert processes.session(leader) == []


def runs(pid):
    """Whether a process is there that has not ended; its parent may never take note of the end."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_run_that_is_ended_ends_its_browser(kit, tmp_path):
    folder = kit(other="nothing")
    command = [sys.executable, "-c", "import time; time.sleep(60)  # {url}"]
    run = [sys.executable, "run.py", "--only", "jird", "--browser", shlex.join(command)]
    started = subprocess.Popen(run, cwd=folder, stderr=subprocess.DEVNULL)
    children = Path(f"/proc/{started.pid}/task/{started.pid}/children")
    kids = wait_until(lambda: children.read_text().split())
    started.terminate()
    assert started.wait(WAIT_S) == 143
    assert not runs(kids[0])


def test_quick_leaves_what_is_given(monkeypatch):
    monkeypatch.syspath_prepend(HERE)
    from tests.bench import run as runner

    o = runner.options(["--quick", "--tokens", "5"])
    assert (o.tokens, o.repeats, o.contexts) == (5, 1, "64")
    assert runner.options([]).repeats == 5


# ---- kit -----------------------------------------------------------------------------------------


def test_peers_that_are_absent_have_their_reason_in_the_table(kit, tmp_path):
    folder = kit()
    assert (folder / "site/index.html").read_text() == "shell" and not (folder / "vendor").exists()
    result = run(folder, {"jird": JIRD}, "jird,wllama,transformers-webgpu", tmp_path)
    text = report.compare_table(result)
    assert "- wllama: no npm" in text and "- transformers.js: no ONNX" in text
    assert text.splitlines()[0] == "|  | Jird |"


def test_a_broken_installation_is_a_reason(monkeypatch, tmp_path):
    def fails(folder):
        raise BuildError("npm ci failed: no network", "Check it.")

    monkeypatch.setattr(bench.node, "ensure_modules", fails)
    monkeypatch.setattr(bench, "onnx_folder", lambda: tmp_path)
    assert bench.peers() == dict.fromkeys(
        ("wllama", "transformers.js"), "npm ci failed: no network"
    )
    monkeypatch.setattr(bench.node, "ensure_modules", lambda folder: None)
    assert (
        list(bench.peers()) == ["transformers.js"]
        and "--make-onnx" in bench.peers()["transformers.js"]
    )


def test_parts_join_to_the_kit(kit, tmp_path, monkeypatch):
    monkeypatch.setattr(bench, "PART_BYTES", 5000)
    folder = kit()
    for name in ("q4", "q4f16"):
        (folder / "onnx/m/onnx").mkdir(parents=True, exist_ok=True)
        (folder / f"onnx/m/onnx/model_{name}.onnx").write_bytes(bytes(range(256)) * 40)
    (folder / "random").mkdir()
    (folder / "random/x.gguf").write_bytes(b"made there")
    parts = bench.split(folder, ["q4f16"])
    sizes = [path.stat().st_size for path in sorted(parts.glob("kit.tgz.*"))]
    assert len(sizes) > 2 and max(sizes) == 5000
    subprocess.run(["sh", str(parts / "join.sh"), str(tmp_path)], check=True)
    names = {
        p.relative_to(tmp_path / "kit").as_posix()
        for p in (tmp_path / "kit").rglob("*")
        if p.is_file()
    }
    before = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
    assert before - names == {"onnx/m/onnx/model_q4.onnx", "random/x.gguf"} and not names - before


# ---- tables --------------------------------------------------------------------------------------


def result_of(**results):
    return {
        "label": "a machine",
        "results": results,
        "machine": {"cpu": "a processor", "cores": 2, "gpu": None, "date": "2026-01-02"},
        "kit": {"commit": "abc1234"},
        "options": {"repeats": 5, "tokens": 9, "limit": 7, "browser": "chromium {url}"},
    }


def test_the_table_of_a_result():
    found = {
        "jird": dict(JIRD),
        "wllama": dict(WLLAMA),
        "transformers-jspi": {"failed": "no WebGPU"},
    }
    rows = {
        line.split(" | ")[0].strip("| "): line
        for line in report.compare_table(result_of(**found)).splitlines()
    }
    assert rows["decode at context 64, tok/s"] == "| decode at context 64, tok/s | 500 | 50 |"
    assert rows["decode at context 512, tok/s"].endswith("| - | timed out at 7 s |")
    assert rows["path"] == "| path | WebGPU | WASM, 2 threads |"
    assert rows["Jird's decoding is"] == "| Jird's decoding is | - | 10x (context 64) |"
    assert rows["told by the peer"].endswith("| 222 MB on the GPU | 105 MB of buffers |")
    assert (
        "- transformers.js (JSPI build): no WebGPU"
        in rows["- transformers.js (JSPI build): no WebGPU"]
    )


def test_figures_stand_beside_their_limits():
    text = report.limits_text(result_of(jird=dict(JIRD), limits={"figures": LIMITS}))
    # 100 MB at 2000 GB/s is 0.05 ms, 200 dispatches of 5 us are 1 ms: 1.05 of the 2 ms measured
    assert "2 ms a token, is 52% of the limit of 1.05 ms: 100 MB of weights in 0.05 ms" in text
    assert "read at 50 GB/s; dispatches alone are 50% of a token" in text


def test_scaling_slopes():
    def model(weights, kv, times, dispatches=100):
        return {
            "bytes": {"weights": weights, "kv": kv},
            "context": 1000,
            "dispatches_per_token": dispatches,
            "decode_ms": times,
        }

    models = {
        "a": model(1_000_000_000, 20_000_000, {"64": 1.0, "564": 1.5, "1064": 2.0}),
        "b": model(3_000_000_000, 20_000_000, {"64": 3.0}, 50),
        "c.failed": "too large",
    }
    text = report.scaling_text(result_of(scaling=models, limits={"figures": LIMITS}))
    row = next(line for line in text.splitlines() if line.startswith("| a "))
    assert row == "| a | 1,000 MB | 100 | 1 | 1.5 | 2 | 1 | 20.0 kB | 1 | 20 |"
    # 0.936 ms at no context: 100 dispatches and 1 GB; 3 ms: 50 dispatches and 3 GB
    assert "takes -0.768 us for each dispatch and 1.01 ms for each GB of weights (987 GB/s)" in text
    assert "within 0% of every model" in text
    assert "- c: too large" in text


def test_a_disturbed_run_moves_no_slope():
    times = {str(c): 1 + c / 1000 for c in (64, 256, 512, 1024, 2048, 4096)}
    assert abs(report.slope_us(times | {"64": 9.0}) - 1) < 1e-9
    assert abs(report.start_ms(times | {"64": 9.0}) - 1) < 1e-9


def test_only_the_text_between_its_markers_is_replaced():
    page = "# Title\n\nBy hand.\n"
    once = report.replace(page, "x", "one")
    assert once == "# Title\n\nBy hand.\n\n<!-- bench x -->\none\n<!-- /bench x -->\n"
    both = report.replace(once, "y", "other") + "\nMore by hand.\n"
    again = report.replace(both, "x", "two")
    assert again == both.replace("one", "two") and again.endswith("More by hand.\n")
    with pytest.raises(ValueError, match="without"):
        report.replace("<!-- bench x -->", "x", "one")


def test_a_result_is_published(tmp_path, monkeypatch):
    page = tmp_path / "performance.md"
    page.write_text("By hand.\n")
    monkeypatch.setattr(bench, "PAGE", page)
    monkeypatch.setattr(bench, "RESULTS", tmp_path / "bench")
    monkeypatch.setattr(bench, "plots", lambda source, name: [f"{name}-peers.svg"])
    result = result_of(jird=dict(JIRD), limits={"figures": LIMITS})
    (tmp_path / "made.json").write_text(json.dumps(result))
    bench.publish(tmp_path / "made.json", "there")
    text = page.read_text()
    assert text.startswith("By hand.\n") and "commit abc1234" in text and "Chromium 156" in text
    assert "    chromium {url}" in text and "![there-peers.svg](bench/there-peers.svg)" in text
    assert json.loads((tmp_path / "bench/there.json").read_text()) == result


# ---- models of random weights --------------------------------------------------------------------


def test_a_random_model_loads_and_keeps_its_activations(tmp_path):
    small = random_model.config("llama", 2, 64, 96, 4, 2, 16, 83, 1e4)
    size = random_model.write(tmp_path / "m.gguf", small)
    source = checkpoints.folder(tmp_path / "m.gguf")
    assert size == (tmp_path / "m.gguf").stat().st_size > random_model.weight_bytes(small)
    assert source.config["num_key_value_heads"] == 2 and source.config["eos_token_id"] is None
    engine = checkpoints.engine(source)
    logits = checkpoints.first_logits(engine, [1, 7, 82])
    ids, why = checkpoints.generated(engine, [1, 7, 82], max_tokens=9)
    checkpoints.close(engine)
    assert 0.1 < logits.std() < 100 and (len(ids), why) == (9, "length")


@pytest.mark.parametrize(
    "name, millions",
    [("smollm2-135m", 135), ("smollm2-360m", 362), ("qwen3-0.6b", 596), ("llama-3.2-1b", 1236)],
)
def test_configurations_have_their_models_parameters(name, millions):
    total = 0
    for _, shape, _ in random_model.tensors(random_model.CONFIGS[name]):
        count = 1
        for size in shape:
            count *= size
        total += count
    assert round(total / 1e6) == millions


@pytest.mark.long
def test_the_limits_page_in_a_browser(kit, tmp_path):
    folder = kit()
    command = [
        sys.executable,
        str(folder / "run.py"),
        "--browser",
        bench.here(),
        "--pages",
        "limits",
        "--repeats",
        "1",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200)
    figures = json.loads(done.stdout)["results"]["limits"]["figures"]
    assert set(figures) >= set(LIMITS) and all(value > 0 for value in figures.values())
