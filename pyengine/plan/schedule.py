"""Graphs + weights -> Plan: arena offsets, kernels, pipelines, bindings, uploads."""
import hashlib
import re

from pyengine import kernels
from pyengine.errors import EngineError, naming_tensor
from pyengine.kernels import source
from pyengine.kernels.repack import kernel_launch, place_launch, repack_launch, units_per_row
from pyengine.plan.memory import align, lifetimes, plan_arena
from pyengine.plan.plan import (JOB_STRIDE, JOBS, READBACKS, SLICE, SLOTS, Buffer, Dispatch,
                                Operand, Pipeline, Plan, Upload)
from pyengine.quant.blocks import data_bytes
from pyengine.quant.kinds import is_joined

_BINDING = re.compile(r"@binding\((\d+)\)\s*var<(storage, read_write|storage, read|uniform)>")
_ACCESS = {"storage, read_write": "read_write", "storage, read": "read", "uniform": "uniform"}


def bindings_of(code):
    """Access of each binding of a shader, by number. Raises `E_INTERNAL` when the numbers have a
    hole."""
    found = {int(number): _ACCESS[access] for number, access in _BINDING.findall(code)}
    if sorted(found) != list(range(len(found))):
        raise EngineError(
            "E_INTERNAL", detail=f"bindings {sorted(found)} are not 0..{len(found) - 1}"
        )
    return tuple(found[i] for i in range(len(found)))


class _Scheduler:
    def __init__(self, caps):
        self.caps = caps
        self.plan = Plan()
        self._buffers = {}
        self._pipelines = {}
        self.recurrent = {}  # buffer name -> bytes

    def buffer(self, name, nbytes, part):
        """Index of the buffer, made or grown to hold `nbytes`."""
        nbytes = align(nbytes, 16)
        if name in self._buffers:
            index = self._buffers[name]
            known = self.plan.buffers[index]
            self.plan.buffers[index] = Buffer(name, max(known.nbytes, nbytes), known.part)
            return index
        if nbytes > self.caps.max_buffer:
            raise EngineError("E_OUT_OF_MEMORY", what=f"the GPU buffer {name[:120]}", needed=nbytes,
                              available=self.caps.max_buffer)
        self._buffers[name] = len(self.plan.buffers)
        self.plan.buffers.append(Buffer(name, nbytes, part))
        return self._buffers[name]

    def pipeline(self, stem, launch):
        code = source.wgsl(stem, launch)
        if code not in self._pipelines:
            digest = hashlib.sha256(code.encode()).hexdigest()[:8]
            flags = "".join(
                f".{v if not isinstance(v, bool) else k}" for k, v in launch.variant.items() if v
            )
            flags += "".join(f".{name}" for name in launch.features)
            self._pipelines[code] = len(self.plan.pipelines)
            self.plan.pipelines.append(Pipeline(f"{stem}{flags}#{digest}", code, bindings_of(code)))
        return self._pipelines[code]

    # ---- programs --------------------------------------------------------------------------------

    def program(self, graph, arena, offsets):
        """The graph's dispatches, its temps at `offsets` of the arena buffer."""
        dispatches = []
        for node in graph.nodes:
            spec, launch = kernels.choose(node, graph.values, self.caps)
            pipeline = self.pipeline(spec.stem, launch)
            operands = tuple(
                self._operand(graph.values[name], arena, offsets) for name in node.operands
            )
            self._check(node, operands, self.plan.pipelines[pipeline])
            dispatches.append(Dispatch(pipeline, operands, launch.grid, node))
        self.plan.programs[graph.name] = dispatches

    def _operand(self, value, arena, offsets):
        nbytes = align(value.nbytes, 16)
        if value.role == "temp":
            return Operand(arena, offsets[value.name], nbytes, value)
        if value.role == "weight":
            index = self._buffers[value.buffer]
            return Operand(index, 0, nbytes, value)
        part = {"state": "kv", "io": "state", "recurrent": "state", "const": "weights"}[value.role]
        if value.role == "recurrent":
            self.recurrent[value.name] = nbytes
        return Operand(self.buffer(value.name, nbytes, part), 0, nbytes, value)

    def _check(self, node, operands, pipeline):
        """WebGPU's rules that no shader compiler checks: binding count and size, and one access per
        buffer."""
        access = pipeline.access
        if len(access) != len(operands):
            raise EngineError(
                "E_INTERNAL", detail=f"{node.op}: {len(operands)} operands, {len(access)} bindings"
            )
        if len(operands) > self.caps.max_storage_buffers:
            raise EngineError("E_INTERNAL", detail=f"{node.op}: {len(operands)} storage buffers")
        for i, a in enumerate(operands):
            if a.nbytes > self.caps.max_binding:
                raise EngineError(
                    "E_OUT_OF_MEMORY",
                    what=f"{a.value.name} in one GPU binding",
                    needed=a.nbytes,
                    available=self.caps.max_binding,
                )
            for j in range(i):
                b = operands[j]
                if a.buffer == b.buffer and "read_write" in (access[i], access[j]):
                    apart = a.offset + a.nbytes <= b.offset or b.offset + b.nbytes <= a.offset
                    if access[i] != access[j] or not apart:
                        raise EngineError(
                            "E_INTERNAL", detail=f"{node.op}: {a.value.name} aliases {b.value.name}"
                        )

    def copies(self, slot):
        """[(buffer of recurrent state, its copy in `slot`)]."""
        return [(self._buffers[name], self.buffer(f"saved.{slot}.{name}", nbytes, "state"))
                for name, nbytes in self.recurrent.items()]

    # ---- weights ---------------------------------------------------------------------------------

    def uploads(self, weights, tensors):
        """Uploads of every part of every weight buffer, in file order."""
        found = []
        for buffer in weights.buffers.values():
            for part in buffer.parts:
                ref = tensors[part.tensor]
                if is_joined(ref.encoding):
                    found += self._joined_uploads(buffer, part, ref)
                else:
                    found.append(self._upload(buffer, part, ref))
        self.plan.uploads = sorted(found, key=lambda u: (u.file, u.offset))

    def _repack(self, tensor, *arguments):
        """The repack kernel's pipeline. Raises `E_UNSUPPORTED_TENSOR` with the tensor's name."""
        with naming_tensor(tensor):
            return self.pipeline("repack", repack_launch(*arguments))

    def _joined_uploads(self, buffer, part, ref):
        """The three uploads of an MLX matrix: each writes its own bits of the rows, in any
        order."""
        kind, columns = buffer.kind, buffer.columns
        for name, tensor in (("codes", ref), ("scales", ref.scales), ("biases", ref.biases)):
            launch = place_launch(name, columns, kind)
            units, row_bytes = launch.constants["K"], launch.constants["SRC_BYTES"]
            _check_row(tensor.name, row_bytes)
            yield Upload(tensor.name, tensor.file, tensor.offset + part.first * row_bytes,
                         row_bytes, part.rows, self._buffers[buffer.name], part.row0,
                         4 * kind.row_words(columns), self.pipeline("repack", launch), units,
                         ref.encoding, kind.name, columns, 0, name)

    def _kernel_upload(self, buffer, part, ref):
        """A convolution's rows, one an output, each scattered over the buffer."""
        columns = part.channels * part.taps
        row_bytes = data_bytes(ref.encoding, columns)
        _check_row(part.tensor, row_bytes)
        with naming_tensor(part.tensor):
            launch = kernel_launch(ref.encoding, part.channels, part.taps, buffer.columns)
        return Upload(part.tensor, ref.file, ref.offset, row_bytes, part.rows,
                      self._buffers[buffer.name], 0, 4, self.pipeline("repack", launch), columns,
                      ref.encoding, buffer.kind.name, columns, 0, "kernel", part.taps,
                      buffer.columns)

    def _upload(self, buffer, part, ref):
        if part.taps:
            return self._kernel_upload(buffer, part, ref)
        kind, columns = buffer.kind, buffer.columns
        head_dim = part.head_dim if ref.rope_interleaved else 0
        row_bytes = data_bytes(ref.encoding, columns)
        dst_row_bytes = 4 * kind.row_words(columns)
        _check_row(part.tensor, row_bytes)
        add = -1.0 if ref.shifted else 0.0
        plain = kind.family == "dense" and ref.encoding == kind.dtype and not head_dim and (
            not add and (row_bytes == dst_row_bytes or part.rows == 1 and row_bytes % 4 == 0))
        pipeline = -1
        if not plain:
            pipeline = self._repack(part.tensor, ref.encoding, columns, kind, head_dim, add)
        offset = ref.offset + part.first * row_bytes
        return Upload(part.tensor, ref.file, offset, row_bytes, part.rows,
                      self._buffers[buffer.name], part.row0, dst_row_bytes, pipeline,
                      units_per_row(columns, kind), ref.encoding, kind.name, columns, head_dim,
                      "shifted" if add else "rows")


def _check_row(tensor, row_bytes):
    if row_bytes > SLICE:
        raise EngineError(
            "E_UNSUPPORTED_TENSOR", tensor=tensor, detail=f"one row has {row_bytes} bytes"
        )


def make_plan(graphs, weights, consts, caps, tensors=None, ring=64, slots=0):
    """Plan of `graphs` (verified, fused) over `weights` (a `Weights`), `consts` {name: array('f')}.

    `tensors` {name: TensorRef} gives the uploads; without it the plan can be inspected but not
    loaded. `slots`: copies of recurrent state that can be kept. Raises `E_OUT_OF_MEMORY` where a
    buffer or binding exceeds the device's limits."""
    scheduler = _Scheduler(caps)
    for buffer in weights.buffers.values():
        scheduler.buffer(buffer.name, buffer.nbytes, "weights")
    arenas = [plan_arena(lifetimes(graph)) for graph in graphs]
    arena = scheduler.buffer("arena", max([16] + [size for _, size in arenas]), "activations")
    for graph, (offsets, _) in zip(graphs, arenas):
        scheduler.program(graph, arena, offsets)
    if tensors is not None:
        scheduler.uploads(weights, tensors)
    plan = scheduler.plan
    plan.saved = [scheduler.copies(slot) for slot in range(slots)]
    plan.consts = {plan.buffer(name): data for name, data in consts.items()}
    for slot in range(SLOTS):
        scheduler.buffer(f"staging.{slot}", SLICE, "staging")
        scheduler.buffer(f"jobs.{slot}", JOBS * JOB_STRIDE, "staging")
    for i in range(READBACKS):
        scheduler.buffer(f"readback.{i}", 4 * ring, "staging")
    return plan
