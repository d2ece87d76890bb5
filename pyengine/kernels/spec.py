"""What a kernel is: the op it computes, where it applies, its variants and how it is launched."""
from collections.abc import Callable
from dataclasses import dataclass

from pyengine.caps import Caps  # noqa: F401  part of what a kernel is asked with
from pyengine.errors import EngineError


@dataclass(frozen=True)
class Tunable:
    """A choice that differs between GPUs, so that it is measured on each.

    `candidates` are dicts of plain values, the default first: what it computes is the reference
    that the others are checked against. A choice may change a launch's variant, constants and grid,
    never its operands. Nodes of one `key` share their choice; `pos` is the position measured at."""
    key: str
    candidates: tuple
    pos: int = 0


@dataclass(frozen=True)
class Launch:
    """`variant` picks the template branches, `constants` become WGSL consts, `grid` counts
    workgroups."""
    variant: dict
    constants: dict
    grid: tuple


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


def ceil_div(a, b):
    return -(-a // b)


def check_grid(launch, caps, op):
    """Raises `E_UNSUPPORTED_CONFIG` where a grid exceeds what the device launches."""
    if max(launch.grid) > caps.max_grid:
        raise EngineError("E_UNSUPPORTED_CONFIG", field=f"grid of {op}", got=list(launch.grid),
                          wanted=f"at most {caps.max_grid} a dimension")
    return launch
