"""What a device offers the planner. A module of its own: a browser that starts by a kept plan needs
no kernels."""
from dataclasses import dataclass, field

from pyengine.flags import VARIANTS

# vendor: features by which its GPUs were measured to gain. Elsewhere they wait to be asked for:
# on Apple's, subgroup reductions were seen to cost much
GAINS = {"nvidia": ("subgroups",)}


@dataclass(frozen=True)
class Caps:
    """What a device offers. The defaults are WebGPU's guaranteed limits ("webgpu-min")."""
    f16: bool = False
    subgroups: bool = False
    software: bool = False  # a CPU pretends to be a GPU: few threads, dear barriers
    fused: bool = True      # whether fused kernels may be used: safe mode does without
    max_binding: int = 128 << 20                # bytes of one storage binding
    max_buffer: int = 256 << 20                 # bytes of one buffer
    max_storage_buffers: int = 8
    max_grid: int = 65535
    workgroup_memory: int = 16384
    subgroup: int = 4       # threads of its smallest subgroup, a power of two
    variants: tuple | None = VARIANTS  # features that kernels may use; None: those of GAINS
    backend: str = "null"
    vendor: str = ""
    # what was measured to be fastest on this device: {Tunable.key: candidate}
    tuning: dict = field(default_factory=dict, hash=False)

    @property
    def max_weight(self):
        """Bytes of one weight buffer: larger matrices are cut by rows."""
        return min(self.max_binding, self.max_buffer)

    @property
    def wanted(self):
        """Features that kernels are to use where the device has them, whatever of them is right."""
        return GAINS.get(self.vendor.lower(), ()) if self.variants is None else self.variants

    def uses(self, feature):
        """Whether kernels use "f16" or "subgroups" here; a CPU that pretends to be a GPU gains
        nothing by either."""
        return feature in self.wanted and getattr(self, feature) and not self.software

    def choice(self, tunable):
        """The measured candidate of a `Tunable`; its default where none is, or no longer is one."""
        chosen = self.tuning.get(tunable.key)
        return chosen if chosen in tunable.candidates else tunable.candidates[tunable.default]
