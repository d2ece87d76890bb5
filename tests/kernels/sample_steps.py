"""For the sampler's tests: inputs with the oracle's draw, and machines that run the programs
dispatch by dispatch."""

import numpy as np

from pyengine.decode import state as st
from pyengine.decode.sampler import draw
from pyengine.decode.sampling import SamplingParams
from pyengine.ir.graph import Node, Value
from pyengine.decode.logprobs import ENTRY
from pyengine.ir.mask_ops import mask_words
from pyengine.ir.ops import OPS
from pyengine.ir.sample_ops import SCRATCH, partials
from pyengine.kernels import sample
from pyengine.kernels.source import wgsl
from pyengine.kernels.spec import Caps

RING = 8
NEAR_TIE = 1e-4  # scores differ by less between devices
# (op, inputs, outputs)
GREEDY = (
    ("sample_argmax", ("logits", "state"), ("picks2",)),
    ("sample_take", ("picks2", "ring", "tokens", "state"), ()),
)
SAMPLED = (
    ("sample_prepare", ("logits", "counts", "bias", "state"), ("tops", "scratch")),
    ("sample_hist", ("logits", "tops", "scratch", "state"), ()),
    ("sample_topk", ("logits", "scratch", "state"), ()),
    ("sample_topp", ("logits", "scratch", "state"), ()),
    ("sample_pick", ("logits", "scratch", "state"), ("picks5",)),
    ("sample_finish", ("logits", "picks5", "scratch", "ring", "tokens", "counts", "state"), ()),
)
LOGPROBS = (
    ("logprob_top", ("logits", "raw", "logtops", "state"), ()),
    *GREEDY,
    ("logprob_take", ("raw", "logtops", "tokens", "log_ring", "state"), ()),
)
MASKED = (("mask_logits", ("logits", "mask", "state"), ()),)
KINDS = ("normal", "even", "steps", "huge", "masked")
CASES = (
    {},
    {"top_k": 1},
    {"top_k": 5},
    {"top_k": "vocab"},
    {"top_k": "half", "temperature": 100},
    {"top_p": 0.1},
    {"top_p": 0.9},
    {"min_p": 0.1},
    {"temperature": 0.7, "top_k": 20, "top_p": 0.8, "min_p": 0.05},
    {"temperature": 1.5, "top_k": 5000, "top_p": 0.95},
    {"temperature": 20, "top_k": "half", "top_p": 0.5},
    {"repetition_penalty": 1.3},
    {"frequency_penalty": 0.7},
    {"presence_penalty": -1.5},
    {"logit_bias": True},
    {"temperature": 0},
    {"temperature": 0, "repetition_penalty": 1.3, "frequency_penalty": 0.5, "logit_bias": True},
)
READ_ONLY = {"state", "counts", "bias", "mask"}  # except where an op writes them


def logits_of(kind, vocab, rng):
    x = (3 * rng.normal(size=vocab)).astype(np.float32)
    if kind == "even":
        x[:] = 1.5
    if kind == "steps":  # large groups of exact ties, over many workgroups
        x = np.round(x)
    if kind == "huge":
        x *= np.float32(1e4)
    if kind == "masked":
        x[rng.random(vocab) < 0.5] = -np.inf
        x[rng.random(vocab) < 0.1] = -1e30
        x[rng.random(vocab) < 0.05] = np.nan
    return x


def params_of(case, vocab, rng):
    case = dict(case)
    case["top_k"] = {"vocab": vocab, "half": max(1, vocab // 2)}.get(
        case.get("top_k"), case.get("top_k", 0)
    )
    if "logit_bias" in case:
        case["logit_bias"] = {
            int(i): float(rng.uniform(-5, 5))
            for i in rng.choice(vocab, min(vocab, 50), replace=False)
        }
    return SamplingParams(seed=int(rng.integers(2**32)), **case)


def inputs(kind, case, vocab, rng):
    """-> buffers to write, the parameters, the oracle's draw."""
    params, pos, n = params_of(case, vocab, rng), int(rng.integers(5000)), int(rng.integers(1, 17))
    logits = logits_of(kind, vocab, rng)
    counts = np.frombuffer(
        st.pack_counts(vocab, rng.integers(vocab, size=200), rng.integers(vocab, size=300)),
        np.uint32,
    )
    bias = np.frombuffer(st.pack_bias(vocab, params.logit_bias), np.float32)
    want = draw(logits, params, position=pos + n, counts=counts)
    state = np.frombuffer(st.pack_state(pos, n, params), np.uint32)
    return {"logits": logits, "counts": counts, "bias": bias, "state": state}, params, want


def check_step(machine, program, buffers, want):
    machine.write(**buffers)
    machine.run(program)
    token, state = int(machine.read("ring")[0]), machine.read("state")
    if want.margin > NEAR_TIE or (want.score_margin == 0 and program is GREEDY):
        assert token == want.id, (
            f"{type(machine).__name__}: margins {want.score_margin}, {want.filter_margin}"
        )
    assert want.kept[token] or want.filter_margin < NEAR_TIE
    assert machine.read("tokens")[0] == token
    expected = buffers["state"].copy()
    expected[[st.POS, st.N, st.STEP]] = buffers["state"][st.POS] + buffers["state"][st.N], 1, 1
    assert (state == expected).all()
    return token


def shapes(vocab):
    return {
        "logits": (1, vocab),
        "counts": (vocab,),
        "bias": (vocab,),
        "mask": (mask_words(vocab),),
        "state": (st.WORDS,),
        "ring": (RING,),
        "tokens": (1,),
        "tops": (partials(vocab),),
        "scratch": (SCRATCH,),
        "picks2": (partials(vocab), 2),
        "picks5": (partials(vocab), 5),
        "raw": (1, vocab),
        "logtops": (partials(vocab), ENTRY),
        "log_ring": (RING, ENTRY),
    }


def dtype(name):
    return np.float32 if name in ("logits", "bias", "tops", "raw") else np.uint32


class Reference:
    """The programs by the op references on numpy arrays; as `Gpu`."""

    def __init__(self, vocab):
        self.arrays = {name: np.zeros(shape, dtype(name)) for name, shape in shapes(vocab).items()}

    def write(self, **arrays):
        for name, array in arrays.items():
            self.arrays[name][...] = (
                np.asarray(array).view(dtype(name)).reshape(self.arrays[name].shape)
            )

    def run(self, program):
        for op, inputs, outputs in program:
            results = OPS[op].reference({}, *[self.arrays[n] for n in inputs])
            for name, result in zip(outputs, results, strict=True):
                assert result.shape == self.arrays[name].shape and result.dtype == dtype(name)
                self.arrays[name][...] = result

    def read(self, name):
        return self.arrays[name].copy()


class Gpu:
    """The programs on a wgpu device; buffers live as long as the object. Each `run` is one pass and
    one submit."""

    def __init__(self, device, vocab):
        import wgpu

        self.device, self.shapes = device, shapes(vocab)
        usage = wgpu.BufferUsage.STORAGE | wgpu.BufferUsage.COPY_SRC | wgpu.BufferUsage.COPY_DST
        self.buffers = {
            name: device.create_buffer(size=4 * int(np.prod(shape)), usage=usage)
            for name, shape in self.shapes.items()
        }
        self.steps = {
            op: self._prepare(op, inputs + outputs) for op, inputs, outputs in SAMPLED + LOGPROBS + MASKED
        }

    def _prepare(self, op, operands):
        values = {name: Value(name, self.shapes[name], "u32") for name in operands}
        spec = next(s for s in sample.SPECS if s.op == op)
        launch = spec.launch(Node(op, operands, ()), values, Caps())
        written = {operands[i] for i in OPS[op].mutates}
        layout = self.device.create_bind_group_layout(
            entries=[
                {
                    "binding": i,
                    "visibility": 4,
                    "buffer": {
                        "type": "read-only-storage" if name in READ_ONLY - written else "storage"
                    },
                }
                for i, name in enumerate(operands)
            ]
        )
        group = self.device.create_bind_group(
            layout=layout,
            entries=[
                {
                    "binding": i,
                    "resource": {
                        "buffer": self.buffers[name],
                        "offset": 0,
                        "size": self.buffers[name].size,
                    },
                }
                for i, name in enumerate(operands)
            ],
        )
        pipeline = self.device.create_compute_pipeline(
            layout=self.device.create_pipeline_layout(bind_group_layouts=[layout]),
            compute={
                "module": self.device.create_shader_module(code=wgsl(spec.stem, launch)),
                "entry_point": "main",
            },
        )
        return pipeline, group, launch.grid

    def write(self, **arrays):
        for name, array in arrays.items():
            self.device.queue.write_buffer(
                self.buffers[name], 0, np.ascontiguousarray(array).tobytes()
            )

    def run(self, program):
        encoder = self.device.create_command_encoder()
        compute = encoder.begin_compute_pass()
        for op, *_ in program:
            pipeline, group, grid = self.steps[op]
            compute.set_pipeline(pipeline)
            compute.set_bind_group(0, group)
            compute.dispatch_workgroups(*grid)
        compute.end()
        self.device.queue.submit([encoder.finish()])

    def read(self, name):
        data = np.frombuffer(self.device.queue.read_buffer(self.buffers[name]), dtype(name))
        return data.reshape(self.shapes[name]).copy()

    def close(self):
        for buffer in self.buffers.values():
            buffer.destroy()
