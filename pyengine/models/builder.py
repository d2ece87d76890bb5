"""The builder: what a model file calls to describe one program. Knows weights by name and where
they go on the GPU."""
from dataclasses import dataclass

from pyengine.errors import EngineError
from pyengine.ir.graph import Graph, Node, Value
from pyengine.ir.ops import OPS
from pyengine.models.blocks.rope import FINE

# rows of 16-byte multiples: a slice that starts at a multiple of 16 rows is 256-byte aligned
ROW_ALIGN = 16


@dataclass(frozen=True)
class Part:
    """Rows `row0 .. row0 + rows` of a weight buffer come from `tensor`; `head_dim` > 0: heads of
    that size whose rows a GGUF may hold in interleaved-RoPE order."""
    tensor: str
    row0: int
    rows: int
    head_dim: int = 0


@dataclass(frozen=True)
class WeightBuffer:
    """One GPU buffer of stacked rows (N, K) of one kind."""
    name: str
    kind: object
    rows: int
    columns: int
    parts: tuple

    @property
    def nbytes(self):
        return self.kind.nbytes(self.rows, self.columns)


class Weights:
    """The weight buffers that a model's programs share. `kind_of(tensor, columns, is_embedding) ->
    WeightKind`; `check(tensor, shape)` raises when the checkpoint's tensor is missing or has
    another shape."""

    def __init__(self, kind_of, check=lambda tensor, shape: None):
        self._kind_of = kind_of
        self._check = check
        self.buffers = {}   # name -> WeightBuffer
        self.tensors = set()

    def matrix(self, parts, columns, embedding=False):
        """`parts` [(tensor, rows, head_dim)] stacked in order -> [WeightBuffer]: one per run of
        equal kinds."""
        runs = []
        for tensor, rows, head_dim in parts:
            self._check(tensor, (rows, columns))
            kind = self._kind_of(tensor, columns, embedding)
            if not runs or runs[-1][0] != kind:
                runs.append((kind, []))
            row0 = sum(part.rows for part in runs[-1][1])
            runs[-1][1].append(Part(tensor, row0, rows, head_dim))
        return [self._declare(kind, columns, tuple(found)) for kind, found in runs]

    def vector(self, tensor, length):
        """A gain or bias: f32 whatever the file holds."""
        self._check(tensor, (length,))
        kind = self._kind_of(tensor, length, None)
        return self._declare(kind, length, (Part(tensor, 0, 1),))

    def _declare(self, kind, columns, parts):
        name = "+".join(part.tensor for part in parts)
        self.tensors.update(part.tensor for part in parts)
        buffer = WeightBuffer(name, kind, sum(p.rows for p in parts), columns, parts)
        known = self.buffers.setdefault(name, buffer)
        if known != buffer:
            raise EngineError(
                "E_INTERNAL", detail=f"weight {name} declared twice: {known}, {buffer}"
            )
        return known


class Builder:
    """Builds the graph of one program of T = `rows` rows over a KV cache of `context` positions."""

    def __init__(self, name, rows, context, weights, kv="f16", max_binding=128 << 20, consts=None):
        self.rows, self.context, self.kv = rows, context, kv
        self._weights, self._max_binding = weights, max_binding
        self.consts = {} if consts is None else consts  # name -> array of f32
        self.graph = Graph(name, rows)
        self.tokens = self._io("tokens", (rows,), "u32")
        self.state = self._io("state", (32,), "u32")
        self._count = 0

    # ---- values ----------------------------------------------------------------------------------

    def _fits(self, name, nbytes):
        """Refuses early, before tables and buffers of such a size are made."""
        if nbytes > self._max_binding:
            raise EngineError("E_OUT_OF_MEMORY", what=f"{name} in one GPU binding", needed=nbytes,
                              available=self._max_binding)

    def _io(self, name, shape, dtype):
        return self.graph.add(Value(name, shape, dtype, "io")).name

    def logits(self, vocab):
        """The io buffer (1, vocab) that the sampling programs read."""
        return self._io("logits", (1, vocab), "f32")

    def cache(self, name, kv_heads, head_dim):
        """A KV cache (kv_heads, context, head_dim), f16 pairs or f32."""
        dtype = "f16x2" if self.kv == "f16" else "f32"
        value = Value(name, (kv_heads, self.context, head_dim), dtype, "state")
        self._fits(name, value.nbytes)
        return self.graph.add(value).name

    def const(self, name, shape, make):
        """A table computed on the host; `make()` -> array('f'), called once per model."""
        if name not in self.consts:
            self.consts[name] = make()
        return self.graph.add(Value(name, shape, "f32", "const")).name

    def rope_tables(self, tables):
        """Declares the coarse and fine rotation tables of `blocks.rope.RopeTables`; -> their
        names."""
        coarse_rows = -(-self.context // FINE)
        return (
            self.const(
                "rope.coarse", (coarse_rows, tables.half, 2), lambda: tables.coarse(coarse_rows)
            ),
            self.const("rope.fine", (FINE, tables.half, 2), tables.fine),
        )

    # ---- ops -------------------------------------------------------------------------------------

    def op(self, name, *inputs, into=None, **attrs):
        """Appends a node (state is added as the last input); -> its output's name (`into` if
        given), a tuple if it has several."""
        inputs = inputs + (self.state,)
        shapes = OPS[name].infer(attrs, *[self.graph.values[i] for i in inputs])
        outputs = []
        self._count += 1
        for shape, dtype in shapes:
            output = into or f"{self._count}.{name}" + (f".{len(outputs)}" if outputs else "")
            if into is None:
                self.graph.add(Value(output, shape, dtype))
            outputs.append(output)
        self.graph.nodes.append(Node(name, inputs, tuple(outputs), tuple(sorted(attrs.items()))))
        return tuple(outputs) if len(outputs) > 1 else outputs[0] if outputs else None

    def _weight_value(self, buffer, row0=0, rows=None):
        rows = buffer.rows if rows is None else rows
        name = buffer.name if rows == buffer.rows else f"{buffer.name}[{row0}:{row0 + rows}]"
        value = Value(name, (rows, buffer.columns), buffer.kind.name, "weight", buffer.name, row0)
        return self.graph.add(value).name

    def embed(self, tensor, vocab, width, scale=1.0):
        """tokens -> (T, width)."""
        buffer, = self._weights.matrix([(tensor, vocab, 0)], width, embedding=True)
        self._fits(tensor, buffer.nbytes)
        return self.op("embed", self.tokens, self._weight_value(buffer), scale=scale)

    def rmsnorm(self, x, tensor, eps):
        buffer = self._weights.vector(tensor, self.graph.values[x].shape[1])
        gain = self.graph.add(
            Value(buffer.name, (buffer.columns,), "f32", "weight", buffer.name)
        ).name
        return self.op("rmsnorm", x, gain, eps=eps)

    def linear(self, x, *parts, embedding=False, into=None):
        """x (T, K) times the stacked rows of `parts` [(tensor, rows[, head_dim])] -> (T, sum of
        rows).

        One node per run of equal kinds and per binding-sized slice; all write columns of one
        output."""
        columns = self.graph.values[x].shape[1]
        full = [(*part, 0) if len(part) == 2 else part for part in parts]
        slices = [piece for buffer in self._weights.matrix(full, columns, embedding)
                  for piece in self._slices(buffer)]
        width = sum(rows for _, _, rows in slices)
        y, col = None, 0
        for buffer, row0, rows in slices:
            weight = self._weight_value(buffer, row0, rows)
            if y is None:
                extra = {} if rows == width else {"width": width}
                y = self.op("linear", x, weight, into=into, **extra)
            else:
                self.op("linear_into", x, weight, y, col=col)
            col += rows
        return y

    def _slices(self, buffer):
        per_row = buffer.nbytes // buffer.rows
        if buffer.nbytes <= self._max_binding:
            return [(buffer, 0, buffer.rows)]
        self._fits(f"{ROW_ALIGN} rows of {buffer.name[:120]}", ROW_ALIGN * per_row)
        most = self._max_binding // per_row // ROW_ALIGN * ROW_ALIGN
        return [
            (buffer, row0, min(most, buffer.rows - row0)) for row0 in range(0, buffer.rows, most)
        ]
