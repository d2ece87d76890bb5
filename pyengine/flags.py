"""Every debug knob, one line each. Nothing else in the engine reads the environment."""
import os
from dataclasses import dataclass

from pyengine.errors import EngineError

# substring of the native adapter's name to prefer
NATIVE_ADAPTER = os.environ.get("JIRD_ADAPTER", "")
DUMP_WGSL = os.environ.get("JIRD_DUMP_WGSL", "")  # folder: write each compiled shader there

# parts of hybrid layers' decoding that can be left apart, for measuring what each is worth
APART = {
    "norm": "the delta rule's per-head norm and silu(z)",
    "conv": "the convolution behind the projection",
    "stack": "the projections of one input, a matrix each",
}
DELTA_STATES = ("f32", "f16x2")


@dataclass(frozen=True)
class Hybrid:
    """How hybrid layers are built: which of APART are left apart, and the dtype of a delta rule's
    state, which f16x2 halves."""
    apart: tuple = ()
    delta_state: str = "f32"

    @classmethod
    def of(cls, apart=None, delta_state=None):
        """From a list with commas and a name, None or "" for the defaults. Raises
        `E_BAD_REQUEST`."""
        parts = tuple(str(apart).split(",")) if apart else ()
        for part in parts:
            if part not in APART:
                raise EngineError("E_BAD_REQUEST", param="apart", got=repr(part)[:80],
                                  wanted=f"some of {', '.join(APART)}, with commas")
        if delta_state and delta_state not in DELTA_STATES:
            raise EngineError("E_BAD_REQUEST", param="delta_state", got=repr(delta_state)[:80],
                              wanted=" or ".join(DELTA_STATES))
        return cls(parts, delta_state or "f32")


# the default of every load: JIRD_HYBRID_APART, such as norm,conv, and JIRD_DELTA_STATE
HYBRID = Hybrid.of(os.environ.get("JIRD_HYBRID_APART"), os.environ.get("JIRD_DELTA_STATE"))

# kernels with optional features of WebGPU, where the device has them; else all compute in f32 with
# reductions in workgroup memory. JIRD_VARIANTS: some of FEATURES with commas, or "none"; unset
# (None) leaves it to what was measured (caps.GAINS)
FEATURES = ("f16", "subgroups")


def variants_of(text):
    """The tuple of FEATURES that `text` names; none of them for "none". Raises `E_BAD_REQUEST`."""
    names = () if text == "none" else tuple(str(text).split(","))
    for name in names:
        if name not in FEATURES:
            raise EngineError("E_BAD_REQUEST", param="variants", got=repr(name)[:80],
                              wanted=f"none, or some of {', '.join(FEATURES)}, with commas")
    return names


VARIANTS = variants_of(os.environ["JIRD_VARIANTS"]) if "JIRD_VARIANTS" in os.environ else None

# Knobs of a page's address, read by pwa_shell/jird.js:
#   ?device=reference   compute with the ops' numpy references, without a GPU: for tests and tiny
#                       models. Never chosen silently: without it such a browser gets E_NO_WEBGPU.
#   ?apart=norm,conv    HYBRID's parts that are left apart
#   ?delta_state=f16x2  HYBRID's delta_state
#   ?variants=f16       VARIANTS: f16, subgroups, both with a comma, or none
#   ?budget_mb=900      MB of GPU memory that a model may take, in the place of budget.py's
#   ?gpuFaults=JSON     a GPU that fails as pwa_shell/js/gpu_faults.js describes, for trying it out
