"""Matrix times many rows of activations (prefill): a tiled kernel for GPUs, a register-blocked one
for CPU devices."""
from pyengine.kernels.spec import KernelSpec, Launch, NodeView, ceil_div, variants
from pyengine.kernels.weights import WEIGHT_VARIANTS, weight_constants, weight_variant

ROWS, TILE = 64, 8      # weight rows and rows of x of one workgroup of wgsl/matmul.wgsl
SQUARE = 64             # both, of wgsl/matmul_tile.wgsl

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


def _launch(into, tiled):
    def launch(node, values, caps):
        view = NodeView(node, values)
        x, weight, y = view[0], view[1], view[2] if into else view[3]
        if tiled and (caps.software or x.shape[0] == 1):
            # one thread that shares nothing is faster where threads are few and barriers dear
            return None
        columns = weight.shape[1]
        constants = {**weight_constants(weight), "N": weight.shape[0], "WIDTH": y.shape[1],
                     "COL": view.attrs.get("col", 0)}
        grid = (
            ceil_div(weight.shape[0], SQUARE if tiled else ROWS),
            ceil_div(x.shape[0], SQUARE if tiled else TILE),
            1,
        )
        return Launch(
            {**weight_variant(weight), "vec": columns % 4 == 0, "into": into}, constants, grid
        )

    return launch


SPECS = tuple(KernelSpec(op, stem, _launch(into, stem == "matmul_tile"), VARIANTS[into])
              for stem in ("matmul_tile", "matmul")
              for op, into in (("linear", False), ("linear_into", True)))
