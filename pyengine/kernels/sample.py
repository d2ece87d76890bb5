"""Sampling: two dispatches when greedy, six with noise, filters and penalties; two more where log
probabilities are asked for, one more while a grammar is active."""
from pyengine.ir.logprob_ops import KEEP
from pyengine.ir.sample_ops import SCRATCH, partials
from pyengine.kernels.spec import KernelSpec, Launch, NodeView


def _launch(op):
    def launch(node, values, caps):
        view = NodeView(node, values)
        if op == "sample_take":
            # VOCAB: the shared text wants one, this kernel does not look
            constants = {"VOCAB": 1, "PARTIALS": view[0].shape[0], "RING": view[1].shape[0]}
            return Launch({}, constants, (1, 1, 1))
        vocab = view[0].shape[1]
        constants = {"VOCAB": vocab, "PARTIALS": partials(vocab)}
        if op == "sample_prepare":
            constants["SCRATCH"] = SCRATCH
        if op == "sample_finish":
            constants["RING"] = view[3].shape[0]
        if op.startswith("logprob_"):
            constants["KEEP"] = KEEP
        if op == "logprob_take":
            return Launch({}, {**constants, "RING": view[3].shape[0]}, (1, 1, 1))
        return Launch({}, constants, (1 if op == "sample_finish" else partials(vocab), 1, 1))
    return launch


SPECS = tuple(KernelSpec(op, op, _launch(op), ({},)) for op in (
    "sample_argmax", "sample_take", "sample_prepare", "sample_hist", "sample_topk", "sample_topp",
    "sample_pick", "sample_finish", "logprob_top", "logprob_take", "mask_logits"))
