"""What a kernel is: the op it computes, where it applies, its variants and how it is launched."""
from collections.abc import Callable
from dataclasses import dataclass

from pyengine.caps import Caps  # noqa: F401  part of what a kernel is asked with
from pyengine.errors import EngineError
from pyengine.flags import FEATURES


@dataclass(frozen=True)
class Tunable:
    """A choice that differs between GPUs, so that it is measured on each.

    `candidates` are dicts of plain values: what the first computes is the reference that the others
    are checked against, `default` the number of the one that unmeasured devices get. A choice may
    change a launch's variant, constants, grid and features, never its operands. Nodes of one `key`
    share their choice; `pos` is the position measured at."""
    key: str
    candidates: tuple
    pos: int = 0
    default: int = 0

    @classmethod
    def featured(cls, key, candidates, caps, features, pos=0):
        """The Tunable of plain `candidates` and, where `caps` uses some of `features`, of the same
        with them: after the plain first candidate, the reference, come each with all of them, then
        the first with each alone."""
        used = [name for name in features if caps.uses(name)]
        if not used:
            return cls(key, candidates, pos)
        every = dict.fromkeys(used, True)
        alone = [{**candidates[0], name: True} for name in used if len(used) > 1]
        return cls(key, (candidates[0], *({**one, **every} for one in candidates), *alone), pos, 1)


@dataclass(frozen=True)
class Launch:
    """`variant` picks the template branches, `constants` become WGSL consts (a text: an alias of a
    type), `grid` counts workgroups. `features`: what of `flags.FEATURES` the shader needs;
    `reduces`: whether it calls the functions of common/reduce.wgsl."""
    variant: dict
    constants: dict
    grid: tuple
    features: tuple = ()
    reduces: bool = False


@dataclass(frozen=True)
class KernelSpec:
    """One way to compute `op` with the template `wgsl/<stem>.wgsl`.

    `launch(node, values, caps)` -> Launch, or None where the kernel does not apply.
    `variants` lists every variant that `launch` can return, for rendering at build time.
    `tunable(node, values, caps)` -> Tunable or None; `launch` follows `caps.choice(tunable)`."""
    op: str
    stem: str
    launch: Callable
    variants: tuple
    tunable: Callable = lambda node, values, caps: None


class NodeView:
    """A node's operands as values, by position: what `launch` reads."""

    def __init__(self, node, values):
        self.node = node
        self.attrs = dict(node.attrs)
        self.operands = [values[name] for name in node.operands]

    def __getitem__(self, index):
        return self.operands[index]


def variants(**choices):
    """Every combination of the named choices, as dicts: the enumerable variants of a template."""
    combos = [{}]
    for key, options in choices.items():
        combos = [{**combo, key: option} for combo in combos for option in options]
    return tuple(combos)


def features_of(choice):
    """The features of a `Tunable.featured` choice, as a Launch has them."""
    return tuple(name for name in FEATURES if choice.get(name))


def reduction_features(caps):
    """Those of a kernel that reduces and has no choice."""
    return ("subgroups",) if caps.uses("subgroups") else ()


def subgroup_constants(features, caps):
    """SUBGROUP of common/reduce.wgsl."""
    return {"SUBGROUP": caps.subgroup} if "subgroups" in features else {}


def ceil_div(a, b):
    return -(-a // b)


def check_grid(launch, caps, op):
    """Raises `E_UNSUPPORTED_CONFIG` where a grid exceeds what the device launches."""
    if max(launch.grid) > caps.max_grid:
        raise EngineError("E_UNSUPPORTED_CONFIG", field=f"grid of {op}", got=list(launch.grid),
                          wanted=f"at most {caps.max_grid} a dimension")
    return launch
