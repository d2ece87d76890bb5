"""Matrix times one row of activations: the decode kernels, with the norm, SwiGLU and residual that
surround it."""
from pyengine.kernels.spec import (KernelSpec, Launch, NodeView, Tunable, ceil_div, features_of,
                                   subgroup_constants)
from pyengine.kernels.split import parts_constants
from pyengine.kernels.weights import (FLAGS, WEIGHT_VARIANTS, matrix_constants, weight_slot,
                                      weight_variant)
from pyengine.passes.fuse import Fusion

FUSIONS = (
    # the norm is narrow: recomputing it in every workgroup costs less than a dispatch and a round
    # trip
    Fusion("rmsnorm", "linear", 0, "norm_linear"),
    Fusion("norm_linear", "silu_mul", 0, "norm_gate_up"),
    Fusion("norm_linear", "gelu_mul", 0, "norm_gate_up"),
    # operands spliced as (x, a, w, state); linear_add takes (a, w, residual, state)
    Fusion("linear", "add", 1, "linear_add", order=(1, 2, 0, 3)),
    Fusion("attention_combine", "linear_add", 0, "combine_linear_add"),
    Fusion("attention_combine", "linear", 0, "combine_linear"),
    Fusion("rmsnorm", "add", 1, "norm_add", order=(1, 2, 0, 3)),
    # a norm behind a sublayer needs its whole row: whoever reads the sum next makes it itself
    Fusion("norm_add", "norm_linear", 0, "add_norm_linear", keep=True, same=("eps", "shift")),
    Fusion("norm_add", "norm_gate_up", 0, "add_norm_gate_up", keep=True, same=("eps", "shift")),
)

ALL_FLAGS = ("into", "residual", "norm", "glu", "post", "conv", "combine")


# (row groups a workgroup, lanes a row, rows a thread), the default first: a software device runs
# whole rows in one thread, because barriers are dear there; a GPU splits a row over lanes
SOFTWARE_TILINGS = ((16, 1, 4), (16, 1, 1), (64, 1, 1))
WIDE_TILINGS = ((8, 32, 1), (4, 32, 1), (4, 64, 1), (2, 32, 4), (8, 16, 1))
MANY_TILINGS = ((8, 32, 4), (8, 32, 1), (4, 32, 1), (2, 32, 4))
STAGED = {"norm", "combine"}  # ops whose x is made in workgroup memory
MANY_ROWS = 8192  # from here on (heads) each load of x serves several rows
NARROW_TILINGS = ((8, 8, 1), (16, 8, 1), (4, 8, 4))


def _tunable(op):
    slot = weight_slot(op)

    def tunable(node, values, caps):
        view = NodeView(node, values)
        weight = view[slot]
        if view[0].shape[0] != 1 and "combine" not in FLAGS[op]:
            return None
        rows, columns = weight.shape
        tilings = (SOFTWARE_TILINGS if caps.software
                   else NARROW_TILINGS if columns < 256
                   else WIDE_TILINGS if rows < MANY_ROWS else MANY_TILINGS)
        # a row that was normalised or averaged cannot leave f16's range
        features = ("f16", "subgroups") if STAGED & {*FLAGS[op]} else ("subgroups",)
        return Tunable.featured(f"{op} {rows}x{columns} {weight.dtype}", tuple(
            {"groups": groups, "lanes": lanes, "rows": many} for groups, lanes, many in tilings),
            caps, features)

    return tunable


def _launch(op):
    flags = {**dict.fromkeys(ALL_FLAGS, False), **FLAGS[op]}
    slot, tunable = weight_slot(op), _tunable(op)

    def launch(node, values, caps):
        view = NodeView(node, values)
        x, weight = view[0], view[slot]
        if x.shape[0] != 1 and not flags["combine"]:
            return None
        columns = weight.shape[1]
        choice = caps.choice(tunable(node, values, caps))
        groups, lanes, rows = choice["groups"], choice["lanes"], choice["rows"]
        fits = 4 * (columns + 64) + 4 * groups * lanes <= caps.workgroup_memory
        must = bool(STAGED & {*FLAGS[op]})
        if must and not fits:
            return None
        features = features_of(choice)
        constants = {**matrix_constants(op, weight, view.attrs), "ROWS": groups, "LANES": lanes,
                     "STAGED": int(must or fits and not caps.software),
                     "real": "f16" if "f16" in features else "f32",
                     **subgroup_constants(features, caps)}
        if flags["conv"]:
            constants |= {"CHANNELS": view.attrs["channels"], "TAPS": view.attrs["taps"]}
        if flags["combine"]:
            constants |= parts_constants(view.attrs)
        return Launch({**weight_variant(weight), **flags, "rows": rows}, constants,
                      (ceil_div(constants["N"], groups * rows), 1, 1), features, True)

    return launch, tuple(
        {**weight, **flags, "rows": rows} for weight in WEIGHT_VARIANTS for rows in (1, 4)
    )


def _spec(op):
    launch, all_variants = _launch(op)
    return KernelSpec(op, "matvec", launch, all_variants, _tunable(op))


SPECS = tuple(_spec(op) for op in FLAGS)
