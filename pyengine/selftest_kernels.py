"""Known answers of the kernels as models use them: tiny models, one of each family with weights of
each kind, whose logits and ids the numpy references have given (`known/`, which
`tests/known_answers.py` makes). A load is preceded by the one that is most like its model. The
first way of planning that is right is used: all that the device offers, then without f16, without
subgroups, without both, and last with unfused kernels.

They fit in WebGPU's guaranteed limits and are planned for those, so that few devices differ: the
build plans the short test for these (`plans`), which takes that work from a browser's start."""
import base64
import json
import math
import random
import struct
import zlib
from dataclasses import replace
from functools import cache
from pathlib import Path

from pyengine.caps import Caps
from pyengine.compile import compile_model
from pyengine.decode import state as st
from pyengine.decode.sampling import SamplingParams
from pyengine.errors import EngineError
from pyengine.formats import hf_config
from pyengine.formats.checkpoint import open_checkpoint
from pyengine.formats.source import BytesSource
from pyengine.kernels import source
from pyengine.models import families
from pyengine.plan import stored

FOLDER = Path(__file__).resolve().parent / "known"
FAMILIES = ("llama", "qwen2", "qwen3", "qwen3_5", "lfm2", "gemma3")  # modules of models/
WEIGHTS = ("mixed", "mlx4")  # quantised while they are loaded, or before
MODELS = tuple(f"{family}-{weights}" for family in FAMILIES for weights in WEIGHTS)
FILE = "model.safetensors"
CONTEXT = 128
# of logits that range over 5: f16 moves them by 0.02, and each id is 0.15 ahead of the next
LIMIT = 0.1
FAR = 1e9
GROUP = 32  # of the smallest that share a scale
# (rows of the prompt and their program; tail; sampling): one id of the largest is what greedy takes
SHORT = (((20, "prefill128"),), "greedy", None)
SUBGROUPS = (4, 8, 16, 32, 64)  # sizes that the build plans for
CUT = (((7, "prefill16"), (20, "prefill128")), "sample", SamplingParams(top_k=1, seed=769))


def ways(caps):
    """What is switched off, from the fastest kernels to the plainest: [(name)]."""
    used = [name for name in ("f16", "subgroups") if caps.uses(name)]
    found = [(), *((name,) for name in used)]
    if len(used) > 1:
        found.append(tuple(used))
    return [*found, (*used, "fused")] if caps.fused else found


def like(config):
    """Which of MODELS has the kernels of a model with this config, as nearly as any."""
    text = hf_config.text_config(config)
    module = families().get(str(text.get("model_type")))  # a file may hold anything there
    family = module.__name__.rpartition(".")[2] if module else ""
    return f"{family if family in FAMILIES else FAMILIES[0]}-{WEIGHTS['quantization' in text]}"


@cache
def known(name):
    """{config; tensors: [[name, dtype, shape, low, high]]; seed; prompt, ids; f32 bytes: logits,
    which choose the first id, and last, behind the last but one}."""
    row = json.loads((FOLDER / f"{name}.json").read_text())
    return {**row, **{key: base64.b64decode(row[key]) for key in ("logits", "last")}}


def _drawn(dice, dtype, count, low, high):
    """Bytes of `count` numbers, each one of 16 from low to high; of any, where they are codes. Both
    ends are among any GROUP: so quantising to 4 or 8 bits finds these 16 again, on any device."""
    if dtype == "U32":
        return dice.randbytes(4 * count)
    numbers = bytearray(dice.randbytes(count))
    for begin in range(0, count // GROUP * GROUP, GROUP):
        least = numbers[begin] % GROUP  # anywhere, else the rows would be alike
        numbers[begin + least], numbers[begin + (least + 1) % GROUP] = 0, 255
    levels = struct.pack("<256f", *(low + (high - low) * (i >> 4) / 15 for i in range(256)))
    used = {"F32": (0, 1, 2, 3), "BF16": (2, 3)}[dtype]
    out = bytearray(len(used) * count)
    for place, byte in enumerate(used):
        out[place::len(used)] = numbers.translate(levels[byte::4])
    return bytes(out)


def weight_file(row):
    """The safetensors file of a `known` row."""
    dice, header, parts, at = random.Random(row["seed"]), {}, [], 0
    for name, dtype, shape, low, high in row["tensors"]:
        parts.append(_drawn(dice, dtype, math.prod(shape), low, high))
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + len(parts[-1])]}
        at += len(parts[-1])
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + b"".join(parts)


def at_hand():
    """Brings in what every load needs, tested or not: its time is not the test's."""
    from pyengine.plan import export  # noqa: F401  of devices in browsers

    families()
    source.version()


def files(row):
    """{name: bytes} of a `known` row's folder."""
    return {"config.json": json.dumps(row["config"]).encode(), FILE: weight_file(row)}


async def checkpoint(row):
    """The Checkpoint of a `known` row."""
    return await open_checkpoint({name: BytesSource(name, data)
                                  for name, data in files(row).items()})


def plain(caps):
    """What the tiny models' plans depend on, all else as WebGPU guarantees it."""
    used = {name: caps.uses(name) for name in ("f16", "subgroups")}
    least = Caps()
    limits = {name: min(getattr(caps, name), getattr(least, name))
              for name in ("max_binding", "max_buffer", "max_storage_buffers", "max_grid",
                           "workgroup_memory")}
    subgroup = caps.subgroup if used["subgroups"] else least.subgroup
    return Caps(**used, **limits, subgroup=subgroup, software=caps.software, fused=caps.fused,
                variants=tuple(name for name in used if used[name]), tuning=caps.tuning)


def _compiled(found, caps, kv, runs):
    """The Plan of a Checkpoint."""
    programs = {"decode", *(tail for _, tail, _ in runs),
                *(program for chunks, _, _ in runs for _, program in chunks)}
    return compile_model(found.config, found.tensors, kv=kv, context=CONTEXT, caps=caps,
                         programs=programs).plan


async def _planned(name, caps, kv, runs):
    """(Plan, files)"""
    found = await checkpoint(known(name))
    return _compiled(found, caps, kv, runs), found.files


def built_for():
    """What a build plans for: (whether kernels use f16, their subgroups' size or 0, Caps)."""
    for f16 in (False, True):
        for size in (0, *SUBGROUPS):
            yield f16, size, plain(Caps(f16=f16, subgroups=size > 0, subgroup=size or Caps.subgroup,
                                        variants=("f16", "subgroups")))


async def plans(name, rendered):
    """Bytes of what a build puts into the wheel as `<name>.plans`: for the caps of the short test
    where kernels use f16, subgroups, both or none, a stored plan. `rendered`: every template."""
    model, found, consts = await checkpoint(known(name)), {}, set()
    for _, _, caps in built_for():
        kept = stored.dump(_compiled(model, caps, "f16", (SHORT,)), rendered)
        consts.add(json.dumps(kept.pop("consts")))
        found[str(caps)] = json.dumps(kept, separators=(",", ":"))
    [same] = consts  # the tables of RoPE, larger than zlib sees back: once for all
    return zlib.compress(json.dumps({"consts": same, "plans": found}).encode(), 9)


def unpacked(data):
    """What `plans` packed: {"consts": JSON text, "plans": {str of Caps: JSON text}}."""
    return json.loads(zlib.decompress(data))


@cache
def _plans(name):
    file = FOLDER / f"{name}.plans"
    return unpacked(file.read_bytes()) if file.is_file() else {"plans": {}}


async def _plan(name, caps, kv, runs):
    """(Plan, files): the build's, where it made this one."""
    kept = _plans(name)
    text = kept["plans"].get(str(caps)) if (runs, kv) == ((SHORT,), "f16") else None
    if text is None:
        return await _planned(name, caps, kv, runs)
    plan = stored.restore({**json.loads(text), "consts": json.loads(kept["consts"])},
                          source.every_rendered())
    return plan, [BytesSource(FILE, weight_file(known(name)))]


def _apart(got, want):
    """The largest difference of two lists of f32; FAR where one is no number."""
    pairs = zip(struct.iter_unpack("<f", got), struct.iter_unpack("<f", want), strict=True)
    return max(d if (d := abs(a - b)) < FAR else FAR for (a,), (b,) in pairs)


class Trial:
    """One tiny model on a device, less the kernels `off`; close it. `runs` of SHORT and CUT.
    `apart`: how far its logits were from the known ones, at most; None before they were read."""

    def __init__(self, name, runner, files, runs):
        self._name, self._runner, self._files, self._runs = name, runner, files, runs
        self.apart = None

    @classmethod
    async def begin(cls, device, name, off=(), *, kv="f16", runs=(SHORT,)):
        """Plans it; its pipelines are being compiled when this returns. Raises what the device
        raises."""
        caps = plain(replace(device.caps, **dict.fromkeys(off, False)))
        plan, files = await _plan(name, caps, kv, runs)
        return cls(name, await device.prepare(plan), files, runs)

    async def right(self):
        """Whether every run gives the known answers. Raises what the device raises."""
        await self._runner.upload(self._files, lambda done, total: None)
        await self._runner.ready()
        for run in self._runs:
            if not await self._run(*run):
                return False
        return True

    async def _run(self, chunks, tail, params):
        answer, runner, begin = known(self._name), self._runner, 0
        plan = runner.plan
        logits = plan.buffer("logits"), 0, len(answer["logits"])
        for end, program in chunks:
            ids = answer["prompt"][begin:end]
            runner.write(plan.buffer("state"), 0, st.pack_state(begin, len(ids), params))
            runner.write(plan.buffer("tokens"), 0, struct.pack(f"<{len(ids)}I", *ids))
            whole = end == len(answer["prompt"])
            first = await runner.run([((program, *([tail] * whole)), 1)], logits)
            begin = end
        if not self._near(first, answer["logits"]):
            return False
        count = len(answer["ids"])
        read = plan.buffer("ring"), 0, 4 * count
        ring = await runner.run([(("decode", tail), count - 1)], read)
        if list(struct.unpack(f"<{count}I", ring)) != answer["ids"]:
            return False
        return self._near(await runner.read(*logits), answer["last"])

    def _near(self, got, want):
        self.apart = max(self.apart or 0.0, _apart(got, want))
        return self.apart < LIMIT

    def close(self):
        """Once or again."""
        self._runner.close()


async def begun(device, name):
    """The first Trial of `choose`, which then waits less; None where it cannot be."""
    try:
        return await Trial.begin(device, name)
    except EngineError as error:
        if error.code != "E_GPU":
            raise
        return None


async def _right(device, name, off, kv, full, trial):
    """(Whether the `trial`, or a new one, is right, its `apart`); `E_GPU` is a wrong answer too."""
    try:
        trial = trial or await Trial.begin(device, name, off, kv=kv,
                                           runs=(SHORT, CUT) if full else (SHORT,))
        return await trial.right(), trial.apart
    except EngineError as error:
        if error.code != "E_GPU":
            raise
        return False, trial and trial.apart
    finally:
        if trial is not None:
            trial.close()


async def choose(device, note, name, *, full=False, every=False, kv="f16", first=None):
    """What has to be switched off for right answers of the model `name`: the first of `ways` that
    is right, None where none is. `note(what, right, apart)` hears of each trial. `full`: through
    every program; `every`: the ways behind it are tried too; `first`: a Trial of the first way."""
    chosen = None
    for off in ways(device.caps):
        (right, apart), first = await _right(device, name, off, kv, full, first), None
        note(f"kernels of {name}" + (f" without {', '.join(off)}" if off else ""), right, apart)
        if right and chosen is None:
            chosen = off
            if not every:
                break
    return chosen
