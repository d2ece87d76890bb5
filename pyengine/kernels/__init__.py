"""The kernel table: for each op its kernels in order of preference; the last of each list supports
every shape."""
from pyengine.errors import EngineError
from pyengine.kernels import (attention, audio, basic, codec, hybrid, matmul, matvec, repack,
                              sample, source, split)
from pyengine.kernels.spec import check_grid

SPECS = (matvec.SPECS + matmul.SPECS + basic.SPECS + attention.SPECS + split.SPECS
         + hybrid.SPECS + audio.SPECS + sample.SPECS + codec.SPECS)
FUSIONS = matvec.FUSIONS + split.FUSIONS + hybrid.FUSIONS


def choose(node, values, caps):
    """-> (KernelSpec, Launch) of the first kernel that takes this node; `E_INTERNAL` if none
    does."""
    for spec in SPECS:
        if spec.op == node.op:
            launch = spec.launch(node, values, caps)
            if launch is not None:
                return spec, check_grid(launch, caps, node.op)
    shapes = [f"{values[n].dtype}{list(values[n].shape)}" for n in node.operands]
    raise EngineError("E_INTERNAL", detail=f"no kernel for {node.op}({', '.join(shapes)})")


def supported(node, graph, caps):
    """True when some kernel takes this node: the question that fusion asks."""
    return any(
        spec.op == node.op and spec.launch(node, graph.values, caps) is not None for spec in SPECS
    )


def every_template():
    """(stem, variants) of each kernel and repack, for rendering and for compiling them all in a
    test."""
    return [(spec.stem, spec.variants) for spec in SPECS] + [
        ("repack", repack.VARIANTS), (source.REDUCE, ({"subgroups": True}, {"subgroups": False}))]
