"""The graph: nodes in program order over named, typed values. Plain data, printable, no
execution."""
from dataclasses import dataclass, field
from math import prod

from pyengine.errors import EngineError
from pyengine.quant.kinds import WeightKind

# bytes per element of the dtypes that are not weight kinds; f16x2 is two f16 in one u32 word
ELEMENT_BYTES = {"f32": 4, "u32": 4, "f16x2": 2}

# io: named buffers that programs share (tokens, state, logits, ring); state: model state that can
# be trimmed (KV); recurrent: model state that can only be extended; temp: arena
ROLES = ("io", "weight", "state", "recurrent", "const", "temp")


@dataclass(frozen=True)
class Value:
    """A tensor: unique `name`, `shape`, `dtype` (f32, u32, f16x2 or a weight kind's name) and
    `role`.

    A weight is all rows of the weight buffer `buffer`.
    """
    name: str
    shape: tuple
    dtype: str
    role: str = "temp"
    buffer: str = ""

    @property
    def nbytes(self):
        if self.role == "weight" and self.dtype not in ELEMENT_BYTES:
            return WeightKind.parse(self.dtype).nbytes(*self.shape)
        return prod(self.shape) * ELEMENT_BYTES[self.dtype]


@dataclass(frozen=True)
class Node:
    """One op: operand names (inputs, then outputs) and attributes sorted by key."""
    op: str
    inputs: tuple
    outputs: tuple
    attrs: tuple = ()

    def attr(self, key, default=None):
        return dict(self.attrs).get(key, default)

    @property
    def operands(self):
        return self.inputs + self.outputs


@dataclass
class Graph:
    """`nodes` in program order; `outputs` are the values somebody outside reads; `marks` name
    values for whoever compares them with a reference."""
    name: str
    rows: int                                   # T
    values: dict = field(default_factory=dict)  # name -> Value
    nodes: list = field(default_factory=list)
    outputs: tuple = ()
    marks: dict = field(default_factory=dict)   # label -> value name

    def add(self, value):
        """Declares a value; the same declaration twice is one value, a different one is a bug."""
        known = self.values.setdefault(value.name, value)
        if known != value:
            raise EngineError(
                "E_INTERNAL", detail=f"value {value.name} declared twice: {known}, {value}"
            )
        return value

    def uses(self, name):
        """The nodes that read `name`."""
        return [node for node in self.nodes if name in node.inputs]

    def replace(self, nodes):
        """The same graph with other nodes; values that no node names any more are dropped."""
        alive = {name for node in nodes for name in node.operands} | set(self.outputs)
        values = {k: v for k, v in self.values.items() if k in alive}
        return Graph(self.name, self.rows, values, nodes, self.outputs, self.marks)
