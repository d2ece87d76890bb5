"""Matrix times many rows of activations (prefill): a tiled kernel for GPUs, with the norm, SwiGLU
and residual that surround it, and a register-blocked one for CPU devices."""
from pyengine.kernels.spec import (KernelSpec, Launch, NodeView, Tunable, ceil_div, features_of,
                                   variants)
from pyengine.kernels.weights import (FLAGS, WEIGHT_VARIANTS, matrix_constants, weight_slot,
                                      weight_variant)

ROWS, TILE = 64, 8      # weight rows and rows of x of one workgroup of wgsl/matmul.wgsl
# rows of x and weight rows of one workgroup of wgsl/matmul_tile.wgsl; the smaller share K among
# more groups of threads
TILES = {"64x64": (64, 64), "32x32": (32, 32), "16x32": (16, 32), "16x16": (16, 16)}
ANY_WIDTH = "32x32"     # the one made for rows that are not vec4 aligned, and for cut matrices
ENOUGH = 264            # workgroups that keep a large GPU busy: two for each of 132 cores

OPS = ("linear", "linear_into", "linear_add", "norm_linear", "norm_gate_up")
ALL_FLAGS = ("into", "residual", "norm", "glu")

# rows of whole quantisation groups are always vec4 aligned
VARIANTS = {
    into: tuple(
        {**w, **v, "into": into}
        for w in WEIGHT_VARIANTS
        for v in variants(vec=(True, False))
        if v["vec"] or not w["scale"]
    )
    for into in (False, True)
}


def _launch(into):
    def launch(node, values, caps):
        view = NodeView(node, values)
        x, weight, y = view[0], view[1], view[2] if into else view[3]
        constants = {**matrix_constants("linear", weight, view.attrs), "WIDTH": y.shape[1]}
        grid = (ceil_div(weight.shape[0], ROWS), ceil_div(x.shape[0], TILE), 1)
        vec = weight.shape[1] % 4 == 0
        return Launch({**weight_variant(weight), "vec": vec, "into": into}, constants, grid)

    return launch


def _grid(tile, rows, outputs):
    return ceil_div(outputs, TILES[tile][1]), ceil_div(rows, TILES[tile][0]), 1


def _tiles(rows, outputs):
    """Tiles by preference: the largest that makes ENOUGH workgroups, then its neighbours."""
    fitting = [t for t in TILES if TILES[t][0] <= max(16, rows)]
    counts = {t: _grid(t, rows, outputs) for t in fitting}
    best = next((t for t in fitting if counts[t][0] * counts[t][1] >= ENOUGH), fitting[-1])
    return (best, *(t for t in fitting if t != best and abs(
        fitting.index(t) - fitting.index(best)) == 1))


def _tile_tunable(op):
    def tunable(node, values, caps):
        view = NodeView(node, values)
        rows, weight = view[0].shape[0], view[weight_slot(op)]
        if caps.software or rows == 1 or op == "linear_into" or weight.shape[1] % 4:
            return None
        key = f"{op} {rows} rows {weight.shape[0]}x{weight.shape[1]} {weight.dtype}"
        tiles = tuple({"tile": tile} for tile in _tiles(rows, weight.shape[0]))
        affine = weight_variant(weight)["scale"]
        return Tunable.featured(key, tiles, caps, ("f16",) if affine else ())

    return tunable


def _launch_tile(op):
    flags = {**dict.fromkeys(ALL_FLAGS, False), **FLAGS[op]}
    slot, tunable = weight_slot(op), _tile_tunable(op)

    def launch(node, values, caps):
        view = NodeView(node, values)
        x, weight = view[0], view[slot]
        vec = weight.shape[1] % 4 == 0
        # one thread that shares nothing is faster where threads are few and barriers dear
        if caps.software or x.shape[0] == 1 or not (vec or op in ("linear", "linear_into")):
            return None
        tuned = tunable(node, values, caps)
        choice = caps.choice(tuned) if tuned else {"tile": ANY_WIDTH}
        tile, features = choice["tile"], features_of(choice)
        y = view[2] if flags["into"] else view[len(view.operands) - 1]
        constants = {**matrix_constants(op, weight, view.attrs), "WIDTH": y.shape[1]}
        variant = {**weight_variant(weight), **flags, "vec": vec, "tile": tile,
                   "half": "f16" in features}
        return Launch(variant, constants, _grid(tile, x.shape[0], weight.shape[0]), features)

    plain = op in ("linear", "linear_into")
    return launch, tuple(
        {**w, **flags, "vec": vec, "tile": tile, "half": half} for w in WEIGHT_VARIANTS
        for tile in TILES for vec in (True, False) for half in (False, True)
        if (vec and (op != "linear_into" or tile == ANY_WIDTH and not half)
            and (w["scale"] or not half))
        or (not vec and not half and plain and tile == ANY_WIDTH and not w["scale"])
    )


def _tile_spec(op):
    launch, all_variants = _launch_tile(op)
    return KernelSpec(op, "matmul_tile", launch, all_variants, _tile_tunable(op))


SPECS = (*map(_tile_spec, OPS), *(
    KernelSpec(op, "matmul", _launch(into), VARIANTS[into])
    for op, into in (("linear", False), ("linear_into", True))))
