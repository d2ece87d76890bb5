"""A whole plan as plain data, and again: what a build makes once so that a start need not plan.

Shaders are kept as their own head (constants) and the keys of the rendered templates behind it,
which every site has anyway. Graph nodes and values are left out, as in a kept plan."""
import base64
from array import array
from dataclasses import astuple

from pyengine.plan.plan import Buffer, Dispatch, Operand, Pipeline, Plan, Upload


def _split(code, rendered):
    """[head, key, ...]: `code` is the head and the rendered texts of these keys behind it."""
    keys = []
    while True:
        ends = [key for key, text in rendered.items() if text and code.endswith(text)]
        if not ends:
            return [code, *keys]
        keys.insert(0, max(ends, key=lambda key: len(rendered[key])))
        code = code[:len(code) - len(rendered[keys[0]])]


def dump(plan, rendered):
    """The plan as JSON-able data; `rendered`: {key: text of a template}."""
    return {
        "buffers": [list(astuple(b)) for b in plan.buffers],
        "pipelines": [[p.label, _split(p.code, rendered), list(p.access)] for p in plan.pipelines],
        "programs": {name: [[d.pipeline, list(d.grid),
                             [[o.buffer, o.offset, o.nbytes] for o in d.operands]]
                            for d in dispatches] for name, dispatches in plan.programs.items()},
        "uploads": [list(astuple(u)) for u in plan.uploads],
        "consts": {index: base64.b64encode(data.tobytes()).decode()
                   for index, data in plan.consts.items()},
        "saved": [[list(pair) for pair in slot] for slot in plan.saved],
    }


def restore(kept, rendered):
    """The Plan of `dump`'s data. Raises KeyError, TypeError or ValueError where it is another
    build's."""
    def code(head, *keys):
        return head + "".join(map(rendered.__getitem__, keys))

    return Plan(
        buffers=[Buffer(*row) for row in kept["buffers"]],
        pipelines=[Pipeline(label, code(*text), tuple(access))
                   for label, text, access in kept["pipelines"]],
        programs={name: [Dispatch(pipeline, tuple(Operand(*o, None) for o in operands),
                                  tuple(grid), None) for pipeline, grid, operands in rows]
                  for name, rows in kept["programs"].items()},
        uploads=[Upload(*row) for row in kept["uploads"]],
        consts={int(index): array("f", base64.b64decode(data))
                for index, data in kept["consts"].items()},
        saved=[[tuple(pair) for pair in slot] for slot in kept["saved"]],
    )
