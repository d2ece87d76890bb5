"""Loading by the plan of the last load: its key, taking it up, and keeping it.

JavaScript has set the GPU up by a kept plan while Python booted (`pwa_shell/js/warm_start.js`).
That was a guess. It counts only where the key, everything that the plan was made from, is what it
would be now; else it is ended and the model is planned anew.
"""

import json
from dataclasses import dataclass, field, replace

from app import tuning
from pyengine.plan import kept
from pyengine.selftest import Report, apply, cache_key  # noqa: F401  apply is the loader's

SHAPING = ("quant", "kv", "context")  # options that change a plan


def facts(code, options, tune, sources, device):
    """All that a plan depends on but the tuner's choices, as plain data: our code, the options, the
    files' digests, and the device. None where a file cannot be told from another version of it."""
    files = [[s.name, s.size, s.identity] for s in sources]
    if not all(identity for _, _, identity in files):
        return None
    return {
        "form": kept.VERSION,
        "code": code,
        "options": {name: options.get(name) for name in SHAPING},
        "tune": tune,
        "files": files,
        "device": device.facts,
        "variants": device.caps.variants and list(device.caps.variants),
        "hybrid": repr(options.get("hybrid")),
    }


async def fits(key, wanted, cache):
    """The self-test's `Report`, where kept `key` (JSON text) is `wanted` (`facts`' answer), and the
    self-test's findings and the tuner's choices, asked from `cache`, are still those that the plan
    was made with; else None."""
    try:
        found = json.loads(key)
        choices, tested = found.pop("choices"), found.pop("selftest")
        if found != wanted:
            return None
        if choices is not None:
            now = json.loads(await cache.get(choices["key"]) or "{}")
            if {name: now.get(name) for name in choices["chosen"]} != choices["chosen"]:
                return None
        report = json.loads(await cache.get(tested["key"]) or "{}")
        if any(report[name] != tested[name] for name in ("layout", "off")):
            return None
        return Report(**report | {"cached": True})
    except (ValueError, TypeError, KeyError, AttributeError):
        return None


def choices_of(model, caps, identity, known):
    """The part of a key that the tuner has: {key of its cache, chosen: {site: choice}}; None where
    some site has no choice yet, so that the next load has to measure."""
    from pyengine.tune import cache_key, sites

    wanted = sites(model.plan, replace(caps, tuning=known))
    if any(name not in known for name in wanted):
        return None
    return {"key": cache_key(identity), "chosen": {name: known[name] for name in wanted}}


@dataclass
class KeptCheckpoint:
    """What a session needs of a checkpoint whose headers nobody read."""

    files: list
    config: dict = field(default_factory=dict)  # of it, what a session asks for: the model_type
    tokenizer_config: dict = field(default_factory=dict)
    chat_template: str | None = None
    generation_config: dict = field(default_factory=dict)

    async def whole(self):
        """The Checkpoint, its headers read: what planning anew needs."""
        from pyengine.formats.checkpoint import open_checkpoint

        return await open_checkpoint({source.name: source for source in self.files})

    def close(self):
        """Closes the files."""
        for source in self.files:
            source.close()


def checkpoint_of(started, files):
    """The KeptCheckpoint of JavaScript's `started`."""
    return KeptCheckpoint(files, **json.loads(started.text("checkpoint")))


async def attached(load, started, checkpoint):
    """The Engine on what `started` began for a `loader.Load`."""
    from pyengine.engine import attach

    async def replan():
        from pyengine.compile import compile_within
        from pyengine.tune import recall

        whole, caps = await checkpoint.whole(), load.device.caps
        if load.cache is not None:
            caps = replace(caps, tuning=await recall(load.cache, load.device.identity))
        options = {name: load.options[name] for name in SHAPING if name in load.options}
        return compile_within(load.budget, whole.config, whole.tensors, caps=caps, **options)

    pair = kept.restore(started.text("kept"))
    runner = load.device.attach(started, pair[0].plan)
    return await attach(pair, runner, load.device, load.files, replan, laps=load.laps,
                        burst=load.options.get("burst", "auto"), on_progress=load.progress)


async def record(wanted, load, engine, checkpoint, tokenizer_config):
    """What `plan_cache.js` keeps of a load whose `facts` are `wanted`: (texts, Uint32Array of
    programs, constants); None where it is not to be kept."""
    from pyengine.selftest_kernels import like
    from pyengine.tune import recall
    from pyengine.warmup import steps

    device, cache = load.device, load.cache
    test = cache_key(device, like(checkpoint.config))
    tested = json.loads(await load.marks.get(test) or "{}")
    if wanted is None or not tested:
        return None
    plan = kept.compact(engine.model.plan)
    choices = None
    if cache is not None:
        known = await recall(cache, device.identity)
        choices = choices_of(engine.model, device.caps, device.identity, known)
        if choices is None:
            return None
    header, ints, consts = device.exported(plan)
    texts = {
        "key": json.dumps({**wanted, "choices": choices, "selftest": {
            "key": test, "layout": tested["layout"], "off": tested["off"]}},
            sort_keys=True),
        "header": header,
        "shards": json.dumps([source.name for source in checkpoint.files]),
        "kept": kept.dump(replace(engine.model, plan=plan), steps(plan, device.late(plan))),
        "checkpoint": json.dumps({
            "config": {"model_type": checkpoint.config.get("model_type")},
            "tokenizer_config": tokenizer_config,
            "chat_template": checkpoint.chat_template,
            "generation_config": checkpoint.generation_config,
        }),
    }
    return texts, ints, consts


def cache_of(parts, wanted):
    """The tuner's cache in this browser, where it is wanted."""
    return tuning.BrowserCache(parts) if wanted else None
