"""Known answers of the kernels as models use them: two tiny models of random 4-bit weights, one
with attention only, one hybrid, whose logits and ids the numpy references have given
(`known/known.json`). The first way of planning that is right is used: all that the device offers,
then without f16, without subgroups, without both, and last with unfused kernels."""
import base64
import json
import struct
from dataclasses import replace
from functools import cache
from pathlib import Path

from pyengine.errors import EngineError

FOLDER = Path(__file__).resolve().parent / "known"
MODELS = ("llama", "hybrid")
CONTEXT = 128
# of logits that range over 5: f16 moves them by 0.02, and each id is 0.15 ahead of the next
LIMIT = 0.1


def ways(caps):
    """What is switched off, from the fastest kernels to the plainest: [(name)]."""
    used = [name for name in ("f16", "subgroups") if caps.uses(name)]
    found = [(), *((name,) for name in used)]
    if len(used) > 1:
        found.append(tuple(used))
    return [*found, (*used, "fused")] if caps.fused else found


@cache
def known():
    """{model: {prompt, ids, logits: bytes of f32}}."""
    rows = json.loads((FOLDER / "known.json").read_text())
    return {name: {**row, "logits": base64.b64decode(row["logits"])} for name, row in rows.items()}


async def _checkpoint(name):
    from pyengine.formats.checkpoint import open_checkpoint
    from pyengine.formats.source import BytesSource

    files = [path for path in sorted((FOLDER / name).iterdir()) if path.is_file()]
    return await open_checkpoint({p.name: BytesSource(p.name, p.read_bytes()) for p in files})


def _near(got, want):
    pairs = zip(struct.iter_unpack("<f", got), struct.iter_unpack("<f", want), strict=True)
    return all(abs(a - b) < LIMIT for (a,), (b,) in pairs)  # false where a is not a number


async def right(load, device, name, off, kv="f16"):
    """Whether a tiny model, loaded by `load` (`engine.load`), gives its known answers on the
    device, less the kernels `off`. Raises what the device raises but `E_GPU`, which is a wrong
    answer too."""
    from pyengine.decode.sampling import SamplingParams

    caps, answer, ids = device.caps, known()[name], []
    device.caps = replace(caps, **dict.fromkeys(off, False))
    engine = None
    try:
        engine = await load(await _checkpoint(name), device, kv=kv, context=CONTEXT, warm=False)
        if not _near(await engine.first_logits(answer["prompt"]), answer["logits"]):
            return False
        async for batch in engine.generate_ids(answer["prompt"], SamplingParams(temperature=0),
                                               max_tokens=len(answer["ids"])):
            ids += batch.ids
        return ids == answer["ids"]
    except EngineError as error:
        if error.code != "E_GPU":
            raise
        return False
    finally:
        device.caps = caps
        if engine is not None:
            await engine.close()


async def choose(load, device, note, *, full=False, kv="f16"):
    """What has to be switched off for right answers: the first of `ways`. `note(what, right)` hears
    of each trial. `full`: both models in every way, else the first way in which the attention model
    is right. Raises `E_GPU` where no way is."""
    chosen = None
    for off in ways(device.caps):
        sound = True
        for name in MODELS if full else MODELS[:1]:
            good = await right(load, device, name, off, kv)
            note(f"kernels of {name}" + (f" without {', '.join(off)}" if off else ""), good)
            sound = sound and good
        if sound and chosen is None:
            chosen = off
            if not full:
                break
    if chosen is None:
        raise EngineError("E_GPU", what="the self-test",
                          detail="even the plainest kernels give wrong numbers")
    return chosen
