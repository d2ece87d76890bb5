"""A plan as it is kept for the next start: what decode loop and warm-up need of it, in JSON.

What the GPU needs besides (pipelines, operands, uploads, constants) is kept in the form in which it
crosses to the device (`export.py`), so that the device is ready before Python is. A kept plan has
no graph nodes: what measures kernels plans anew.
"""
import json
from dataclasses import replace

from pyengine.plan.plan import Buffer, CompiledModel, Pipeline, Plan

VERSION = 2  # of this form and of export.py's


def compact(plan):
    """The plan without pipelines that nothing uses: those that the autotuner did not choose."""
    used = {d.pipeline for dispatches in plan.programs.values() for d in dispatches}
    used |= {u.pipeline for u in plan.uploads} - {-1}
    numbers = {old: new for new, old in enumerate(sorted(used))} | {-1: -1}
    return replace(
        plan,
        pipelines=[plan.pipelines[old] for old in sorted(used)],
        programs={name: [replace(d, pipeline=numbers[d.pipeline]) for d in dispatches]
                  for name, dispatches in plan.programs.items()},
        uploads=[replace(u, pipeline=numbers[u.pipeline]) for u in plan.uploads],
    )


def dump(model, steps):
    """A `CompiledModel` (its plan compact) as JSON text; `steps` are the warm-up's."""
    plan = model.plan
    return json.dumps({
        "buffers": [[b.name, b.nbytes, b.part] for b in plan.buffers],
        "pipelines": [p.label for p in plan.pipelines],
        "programs": {name: len(dispatches) for name, dispatches in plan.programs.items()},
        "saved": plan.saved,
        "steps": steps,
        "model_type": model.model_type, "context": model.context, "vocab": model.vocab,
        "quant": model.quant, "kv": model.kv, "ring": model.ring,
    })


def restore(text):
    """(CompiledModel, warm-up steps) of `dump`'s text. The plan's programs are ranges, as long as
    their dispatches are many, its pipelines have labels only, and there is no config."""
    kept = json.loads(text)
    plan = Plan(
        buffers=[Buffer(*row) for row in kept["buffers"]],
        pipelines=[Pipeline(label, "", ()) for label in kept["pipelines"]],
        programs={name: range(count) for name, count in kept["programs"].items()},
        saved=[[tuple(pair) for pair in slot] for slot in kept["saved"]],
    )
    ring = kept["ring"] and tuple(kept["ring"])
    model = CompiledModel(plan, None, kept["model_type"], kept["context"], kept["vocab"],
                          kept["quant"], kept["kv"], (), ring)
    return model, [(name, indices) for name, indices in kept["steps"]]


def is_kept(plan):
    """Whether a plan came from `restore`, without dispatches."""
    return any(isinstance(dispatches, range) for dispatches in plan.programs.values())
