"""Matrix times one row of activations: the decode kernels, with the norm, SwiGLU and residual that surround it."""
from pyengine.kernels.spec import KernelSpec, Launch, NodeView, ceil_div, variants
from pyengine.kernels.weights import WEIGHT_VARIANTS, weight_constants, weight_variant
from pyengine.passes.fuse import Fusion

FUSIONS = (
    # the norm is narrow: recomputing it in every workgroup costs less than a dispatch and a round trip
    Fusion("rmsnorm", "linear", 0, "norm_linear"),
    Fusion("norm_linear", "silu_mul", 0, "norm_gate_up"),
    # operands spliced as (x, a, w, state); linear_add takes (a, w, residual, state)
    Fusion("linear", "add", 1, "linear_add", order=(1, 2, 0, 3)),
)

FLAGS = {"linear": {}, "linear_into": {"into": True}, "linear_add": {"residual": True},
         "norm_linear": {"norm": True}, "norm_gate_up": {"norm": True, "glu": True}}


def _rows_and_lanes(caps, columns):
    """A software device runs one row a thread (barriers are dear); a GPU splits a row over 32 lanes, 8 rows a workgroup."""
    if caps.software:
        return 64, 1
    return 8, 32 if columns >= 256 else 8


def _launch(op):
    flags = {"into": False, "residual": False, "norm": False, "glu": False, **FLAGS[op]}
    weight_slot = 2 if flags["norm"] else 1

    def launch(node, values, caps):
        view = NodeView(node, values)
        x, weight = view[0], view[weight_slot]
        if x.shape[0] != 1:
            return None
        columns = weight.shape[1]
        rows, lanes = _rows_and_lanes(caps, columns)
        if flags["norm"] and 4 * (columns + 64) + 8 * rows * lanes > caps.workgroup_memory:
            return None  # the normalised row must fit in workgroup memory
        outputs = weight.shape[0] // 2 if flags["glu"] else weight.shape[0]
        constants = {**weight_constants(weight), "N": outputs, "COL": view.attrs.get("col", 0),
                     "ROWS": rows, "LANES": lanes}
        if flags["norm"]:
            constants["EPS"] = float(view.attrs["eps"])
        return Launch({**weight_variant(weight), **flags}, constants, (ceil_div(outputs, rows), 1, 1))
    return launch, tuple({**weight, **flags} for weight in WEIGHT_VARIANTS)


def _spec(op):
    launch, all_variants = _launch(op)
    return KernelSpec(op, "matvec", launch, all_variants)


SPECS = tuple(_spec(op) for op in FLAGS)


def _launch_matmul(into):
    def launch(node, values, caps):
        view = NodeView(node, values)
        x, weight, y = view[0], view[1], view[2] if into else view[3]
        rows, columns = x.shape[0], weight.shape[1]
        vec = columns % 4 == 0
        constants = {**weight_constants(weight), "T": rows, "N": weight.shape[0], "WIDTH": y.shape[1],
                     "COL": view.attrs.get("col", 0)}
        grid = (ceil_div(weight.shape[0], 64), ceil_div(rows, 16), 1)
        return Launch({**weight_variant(weight), "vec": vec, "into": into}, constants, grid)
    return launch


MATMUL_SPECS = tuple(
    KernelSpec(op, "matmul", _launch_matmul(into),
               tuple({**w, **v, "into": into} for w in WEIGHT_VARIANTS for v in variants(vec=(True, False))))
    for op, into in (("linear", False), ("linear_into", True)))
