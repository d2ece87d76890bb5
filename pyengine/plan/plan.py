"""The plan: everything a device needs to hold and replay, as plain data. Made once per model by
`schedule.make_plan`."""
from dataclasses import dataclass, field

from pyengine.quant.kinds import WeightKind

PARTS = ("weights", "kv", "state", "activations", "staging")
SLICE = 2 << 20      # bytes of one staging slice while weights stream; four are read ahead
SLOTS = 4            # slices in flight
READBACKS = 2        # submits whose ids may be read back at once
JOBS = 64            # repack jobs of one slice
JOB_STRIDE = 256     # bytes from one job to the next: WebGPU's uniform offset alignment


@dataclass(frozen=True)
class Buffer:
    """A GPU buffer; `part` says whose bytes they are in the memory table."""
    name: str
    nbytes: int
    part: str


@dataclass(frozen=True)
class Pipeline:
    """A compute shader and the access ("read", "read_write", "uniform") of each of its bindings."""
    label: str
    code: str
    access: tuple


@dataclass(frozen=True)
class Operand:
    """Binding: `nbytes` of `buffer` from `offset`; `value` is what lies there (for the oracle
    device)."""
    buffer: int
    offset: int
    nbytes: int
    value: object


@dataclass(frozen=True)
class Dispatch:
    pipeline: int
    operands: tuple
    grid: tuple
    node: object


@dataclass(frozen=True)
class Upload:
    """Rows of a file's tensor into a weight buffer. `pipeline` -1: the bytes are rows already,
    copied as they are. `part`: which of an MLX matrix's tensors this is, "shifted" for a gain
    that loses its 1, "kernel" for a convolution's, whose (rows, channels, `taps`) lie as (taps,
    channels, `outputs`), channels padded to a multiple of 4, "rows" for any other."""
    tensor: str
    file: int
    offset: int
    row_bytes: int
    rows: int
    buffer: int
    row0: int
    dst_row_bytes: int
    pipeline: int
    units_per_row: int
    encoding: str
    kind: str
    columns: int
    head_dim: int
    part: str = "rows"
    taps: int = 0
    outputs: int = 0

    @property
    def exponent(self):
        """(bytes of a number, mask of its exponent's bits) of an MLX matrix's scales or biases; all
        of these bits are set in an infinity or NaN. None for what is not checked."""
        if self.part not in ("scales", "biases"):
            return None
        scale = WeightKind.parse(self.kind).scale
        return {"f16": (2, 0x7C00), "bf16": (2, 0x7F80), "f32": (4, 0x7F800000)}[scale]


def program_rows(name):
    """Rows that a program of the decode loop has: T of "prefill<T>", one of any other."""
    return int(name.removeprefix("prefill")) if name.startswith("prefill") else 1


@dataclass
class Plan:
    buffers: list = field(default_factory=list)
    pipelines: list = field(default_factory=list)
    programs: dict = field(default_factory=dict)   # name -> [Dispatch]
    uploads: list = field(default_factory=list)    # in file order
    consts: dict = field(default_factory=dict)     # buffer index -> array('f')
    saved: list = field(default_factory=list)      # per slot [(recurrent buffer, its copy)]

    def buffer(self, name):
        """Index of the buffer called `name`."""
        return next(i for i, b in enumerate(self.buffers) if b.name == name)

    def bytes_needed(self):
        """{part: bytes, total}: GPU memory by part; the parts add up to the total."""
        parts = {part: sum(b.nbytes for b in self.buffers if b.part == part) for part in PARTS}
        return {**parts, "total": sum(parts.values())}

    def sizes(self, kind):
        """The N, ascending, of the programs that are called `kind`N."""
        return sorted(int(name.removeprefix(kind)) for name in self.programs
                      if name.startswith(kind))

    def dispatches(self, *names):
        """Dispatches of the named programs run one after the other."""
        return sum(len(self.programs[name]) for name in names)

    def text(self):
        """The golden form: buffers by part, then each program's dispatches with pipeline, grid and
        operands."""
        lines = [f"{k} {v}" for k, v in self.bytes_needed().items()]
        lines += [f"buffer {b.name} {b.nbytes} {b.part}" for b in self.buffers]
        for name, dispatches in self.programs.items():
            lines.append(f"program {name}")
            for d in dispatches:
                where = " ".join(
                    f"{self.buffers[o.buffer].name}@{o.offset}+{o.nbytes}" for o in d.operands
                )
                lines.append(
                    f"  {self.pipelines[d.pipeline].label} {'x'.join(map(str, d.grid))} {where}"
                )
        return "\n".join(lines) + "\n"


@dataclass(frozen=True)
class CompiledModel:
    """A model's plan and what the loop must know of it. `graphs` are kept for their text (golden
    plans); `tuned` is what the autotuner measured at this load."""
    plan: Plan
    config: object
    model_type: str
    context: int
    vocab: int
    quant: str
    kv: str
    graphs: tuple
    ring: tuple | None = None  # (positions, slack) of the shortest ring that wraps
    tuned: dict = field(default_factory=dict)


def late_programs(plan, software):
    """Programs that a first answer can do without, or comes to last. On a software device, which
    takes most of a second for the sampler's and as long for decoding's, those too: it reads a
    prompt for longer."""
    late = {"logprob_top", "logprob_take", "mask"}
    if software:
        late |= {"sample"} | ({"decode"} if plan.sizes("prefill") else set())
    return frozenset(late & set(plan.programs))
