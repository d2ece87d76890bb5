"""The builder: what a model file calls to describe one program. Knows weights by name and where
they go on the GPU."""
from dataclasses import dataclass

from pyengine.errors import EngineError
from pyengine.ir.graph import Graph, Node, Value
from pyengine.ir.ops import OPS
from pyengine.models.blocks.rope import FINE

# rows of a weight buffer that is cut off a larger matrix: a multiple of this, or of a head's rows
ROW_ALIGN = 16
MOST_BYTES = 128 << 20  # of one weight buffer: WebGPU's default binding


@dataclass(frozen=True)
class Part:
    """Rows `row0 .. row0 + rows` of a weight buffer are those of `tensor` from `first` on;
    `head_dim` > 0: heads of that size whose rows a GGUF may hold in interleaved-RoPE order;
    `taps` > 0: a convolution's (rows, channels, taps), which lies as (taps, channels, rows)."""
    tensor: str
    row0: int
    rows: int
    head_dim: int = 0
    first: int = 0
    taps: int = 0
    channels: int = 0


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


def align4(count):
    """The next multiple of 4."""
    return -(-count // 4) * 4


def fits_binding(name, nbytes, most):
    """Raises `E_OUT_OF_MEMORY` where `nbytes` exceed the `most` of one binding."""
    if nbytes > most:
        raise EngineError("E_OUT_OF_MEMORY", what=f"{name} in one GPU binding", needed=nbytes,
                          available=most)


class Weights:
    """The weight buffers that a model's programs share. `kind_of(tensor, columns, is_embedding) ->
    WeightKind`; `check(tensor, shape)` raises when the checkpoint's tensor is missing or has
    another shape, or none of several; `most` bytes of one buffer, beyond which a matrix is cut by
    rows."""

    def __init__(self, kind_of, check=lambda tensor, *shapes: None, most=MOST_BYTES):
        self._kind_of = kind_of
        self._check = check
        self._most = most
        self.buffers = {}   # name -> WeightBuffer
        self.tensors = set()

    def known(self, tensor, *shapes):
        """A tensor whose numbers the config has since opening: only that it is there counts."""
        self._check(tensor, *shapes)
        self.tensors.add(tensor)

    def matrix(self, parts, columns, embedding=False):
        """`parts` [(tensor, rows, head_dim)] stacked in order -> [WeightBuffer]: one per run of
        equal kinds, several where a run is larger than a buffer may be."""
        runs = []
        for tensor, rows, head_dim in parts:
            self._check(tensor, (rows, columns))
            kind = self._kind_of(tensor, columns, embedding)
            if not runs or runs[-1][0] != kind:
                runs.append((kind, []))
            runs[-1][1].append((tensor, rows, head_dim))
        return [self._declare(kind, columns, cut)
                for kind, run in runs for cut in self._cuts(kind, columns, run)]

    def _cuts(self, kind, columns, run):
        """Tuples of Parts, as few as hold the rows of `run` with at most `most` bytes each."""
        row_bytes, cuts, used = kind.nbytes(1, columns), [[]], 0
        for tensor, rows, head_dim in run:
            step = head_dim or ROW_ALIGN
            first = 0
            while first < rows:
                room = self._most // row_bytes - used
                take = rows - first if rows - first <= room else room // step * step
                if take:
                    cuts[-1].append(Part(tensor, used, take, head_dim, first))
                    first, used = first + take, used + take
                elif used:
                    cuts.append([])
                    used = 0
                else:
                    fits_binding(f"{step} rows of {tensor[:120]}", step * row_bytes, self._most)
        return [tuple(cut) for cut in cuts]

    def vector(self, tensor, length):
        """A gain or bias: f32 whatever the file holds."""
        return self.vectors([(tensor, 1)], length)

    def taps(self, tensor, channels, taps):
        """A depthwise convolution's kernels (channels, 1, taps), as one vector."""
        self._check(tensor, (channels, 1, taps), (channels, taps))
        kind = self._kind_of(tensor, channels * taps, None)
        return self._declare(kind, channels * taps, (Part(tensor, 0, 1),))

    def kernel(self, tensor, out, channels, taps):
        """A convolution's (out, channels, taps) as (taps, channels, out) in f32, channels and
        outputs padded with zeros to multiples of 4."""
        self._check(tensor, (out, channels, taps))
        kind = self._kind_of(tensor, channels * taps, None)
        self.tensors.add(tensor)
        rows = taps * align4(channels)
        part = Part(tensor, 0, out, taps=taps, channels=channels)
        return self._known(WeightBuffer(tensor, kind, rows, align4(out), (part,)))

    def shaped(self, tensor, rows, columns, shape):
        """A tensor of `shape` as f32 rows (rows, columns)."""
        self._check(tensor, shape)
        kind = self._kind_of(tensor, columns, None)
        return self._declare(kind, columns, (Part(tensor, 0, rows),))

    def filters(self, tensor, outputs, channels, taps):
        """A convolution's weight (outputs, channels, taps) as a matrix of `outputs` rows."""
        self._check(tensor, (outputs, channels, taps))
        columns = channels * taps
        kind = self._kind_of(tensor, columns, False)
        return [self._declare(kind, columns, cut)
                for cut in self._cuts(kind, columns, [(tensor, outputs, 0)])]

    def vectors(self, parts, columns):
        """`parts` [(tensor, rows)], vectors of rows * columns numbers, as rows of f32."""
        found, row0 = [], 0
        for tensor, rows in parts:
            self._check(tensor, (rows * columns,))
            found.append(Part(tensor, row0, rows))
            row0 += rows
        return self._declare(self._kind_of(parts[0][0], columns, None), columns, tuple(found))

    def _declare(self, kind, columns, parts):
        name = "+".join(part.tensor for part in parts)
        if parts[0].first:
            name += f"[{parts[0].first}:]"
        self.tensors.update(part.tensor for part in parts)
        return self._known(WeightBuffer(name, kind, sum(p.rows for p in parts), columns, parts))

    def _known(self, buffer):
        known = self.buffers.setdefault(buffer.name, buffer)
        if known != buffer:
            raise EngineError(
                "E_INTERNAL", detail=f"weight {buffer.name} declared twice: {known}, {buffer}"
            )
        return known


class Builder:
    """Builds the graph of one program of T = `rows` rows over a KV cache of `context` positions.
    `slack`: rows of the longest program, which rings hold beyond their window. `apart` and
    `matrix_state`: hybrid layers' projections one by one, and the dtype of a delta rule's state
    (pyengine/flags.py)."""

    def __init__(self, name, rows, context, weights, kv="f16", max_binding=128 << 20, consts=None,
                 slack=0, apart=False, matrix_state="f32"):
        self.rows, self.context, self.kv, self.slack = rows, context, kv, slack
        self.apart, self.matrix_state = apart, matrix_state
        self._weights, self._max_binding = weights, max_binding
        self.consts = {} if consts is None else consts  # name -> array of f32
        self.graph = Graph(name, rows)
        self.tokens = self._io("tokens", (rows,), "u32")
        self.state = self._io("state", (32,), "u32")
        self._count = 0

    # ---- values ----------------------------------------------------------------------------------

    def _fits(self, name, nbytes):
        """Refuses early, before tables and buffers of such a size are made."""
        fits_binding(name, nbytes, self._max_binding)

    def _io(self, name, shape, dtype):
        return self.graph.add(Value(name, shape, dtype, "io")).name

    def logits(self, vocab):
        """The io buffer (1, vocab) that the sampling programs read."""
        return self._io("logits", (1, vocab), "f32")

    def mark(self, label, value):
        """Gives a value a name for tests and debugging; -> the value."""
        self.graph.marks[label] = value
        return value

    def cache(self, name, kv_heads, head_dim, window=None):
        """A KV cache (kv_heads, context, head_dim), f16 pairs or f32. With a `window` only that
        many positions and the slack are kept, position p at p modulo that: a program of up to
        slack + 1 rows overwrites nothing that its first row sees."""
        dtype = "f16x2" if self.kv == "f16" else "f32"
        length = self.context if window is None else min(self.context, window + self.slack)
        value = Value(name, (kv_heads, length, head_dim), dtype, "state")
        self._fits(name, value.nbytes)
        return self.graph.add(value).name

    def fixed(self, name, heads, length, head_dim, kv=None):
        """Keys or values (heads, length, head_dim) that are written whole, not position by
        position, and attended to whole; `kv`: "f32" whatever the caches are."""
        dtype = "f16x2" if (kv or self.kv) == "f16" else "f32"
        value = Value(name, (heads, length, head_dim), dtype, "state")
        self._fits(name, value.nbytes)
        return self.graph.add(value).name

    def recurrent(self, name, shape, matrix=False):
        """State that can only be extended, f32; a `matrix` may be halved by a flag."""
        dtype = self.matrix_state if matrix else "f32"
        return self.graph.add(Value(name, shape, dtype, "recurrent")).name

    def const(self, name, shape, make):
        """A table computed on the host; `make()` -> array('f'), called once per model."""
        if name not in self.consts:
            self.consts[name] = make()
        return self.graph.add(Value(name, shape, "f32", "const")).name

    def rope_tables(self, tables, name="rope", positions=None):
        """Declares the coarse and fine rotation tables of `blocks.rope.RopeTables` for `positions`
        (None: the context); -> their names. Two sets of tables of one model need two names."""
        coarse_rows = -(-(positions or self.context) // FINE)
        return (
            self.const(
                f"{name}.coarse", (coarse_rows, tables.half, 2), lambda: tables.coarse(coarse_rows)
            ),
            self.const(f"{name}.fine", (FINE, tables.half, 2), tables.fine),
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

    def _weight_value(self, buffer):
        shape = (buffer.rows, buffer.columns)
        return self.graph.add(
            Value(buffer.name, shape, buffer.kind.name, "weight", buffer.name)
        ).name

    def embed(self, tensor, vocab, width, scale=1.0):
        """tokens -> (T, width); one node per buffer of the table."""
        buffers = self._weights.matrix([(tensor, vocab, 0)], width, embedding=True)
        x, row0 = None, 0
        for buffer in buffers:
            weight = self._weight_value(buffer)
            if x is None:
                x = self.op("embed", self.tokens, weight, scale=scale)
            else:
                self.op("embed_into", self.tokens, weight, x, scale=scale, row0=row0)
            row0 += buffer.rows
        return x

    def vectors(self, columns, *parts):
        """The f32 rows (sum of rows, columns) of `parts` [(tensor, rows)], vectors one behind the
        other."""
        return self._weight_value(self._weights.vectors(parts, columns))

    def known(self, tensor, *shapes):
        """As `Weights.known`."""
        self._weights.known(tensor, *shapes)

    def _vector_value(self, buffer):
        value = Value(buffer.name, (buffer.columns,), "f32", "weight", buffer.name)
        return self.graph.add(value).name

    def vector(self, tensor, length):
        """A weight (length,) in f32."""
        return self._vector_value(self._weights.vector(tensor, length))

    def taps(self, tensor, channels, taps):
        """A depthwise convolution's kernels, (channels * taps,) in f32."""
        return self._vector_value(self._weights.taps(tensor, channels, taps))

    def kernel(self, tensor, out, channels, taps):
        """A convolution's weights as (taps, channels, out) in f32, padded to multiples of 4."""
        buffer = self._weights.kernel(tensor, out, channels, taps)
        shape = (taps, align4(channels), align4(out))
        return self.graph.add(Value(buffer.name, shape, "f32", "weight", buffer.name)).name

    def padded(self, tensor, rows, columns, shape):
        """A tensor of `shape` as f32 (rows, columns), or (columns,) where rows is 1, padded with
        zeros to a multiple of 4 columns."""
        buffer, wide = self._weights.shaped(tensor, rows, columns, shape), align4(columns)
        shape = (wide,) if rows == 1 else (rows, wide)
        return self.graph.add(Value(buffer.name, shape, "f32", "weight", buffer.name)).name

    def vector_of(self, tensor, length, shape):
        """A tensor of `shape` as f32 (length,)."""
        return self._vector_value(self._weights.shaped(tensor, 1, length, shape))

    def rmsnorm(self, x, tensor, eps, shift=0.0):
        """`shift`: what the family's norms add to their gains, 1 for Gemma."""
        gain = self.vector(tensor, self.graph.values[x].shape[1])
        return self.op("rmsnorm", x, gain, eps=eps, **({"shift": shift} if shift else {}))

    def linear(self, x, *parts, embedding=False, into=None, apart=False):
        """x (T, K) times the stacked rows of `parts` [(tensor, rows[, head_dim])] -> (T, sum of
        rows).

        One node per weight buffer, that is per run of equal kinds and per cut of a matrix that is
        larger than a buffer may be; all write columns of one output. `apart`: one node per part."""
        columns = self.graph.values[x].shape[1]
        full = [(*part, 0) if len(part) == 2 else part for part in parts]
        stacks = [[part] for part in full] if apart else [full]
        buffers = [buffer for stack in stacks
                   for buffer in self._weights.matrix(stack, columns, embedding)]
        return self._product(x, buffers, into)

    def conv1d(self, x, tensor, outputs, kernel, stride):
        """x (T, C) -> (rows, outputs): a convolution over time without padding or bias, its weight
        (outputs, C, kernel). The state's N becomes its rows."""
        channels = self.graph.values[x].shape[1]
        self.op("stride_rows", kernel=kernel, stride=stride)
        seen = self.op("unfold", x, kernel=kernel, stride=stride)
        return self._product(seen, self._weights.filters(tensor, outputs, channels, kernel))

    def _product(self, x, buffers, into=None):
        """x (T, K) times the rows of `buffers`, all in one output."""
        width = sum(buffer.rows for buffer in buffers)
        y, col = None, 0
        for buffer in buffers:
            weight = self._weight_value(buffer)
            if y is None:
                extra = {} if buffer.rows == width else {"width": width}
                y = self.op("linear", x, weight, into=into, **extra)
            else:
                self.op("linear_into", x, weight, y, col=col)
            col += buffer.rows
        return y
