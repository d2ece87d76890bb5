"""Every debug knob, one line each. Nothing else in the engine reads the environment."""
import os

# substring of the native adapter's name to prefer
NATIVE_ADAPTER = os.environ.get("JIRD_ADAPTER", "")
DUMP_WGSL = os.environ.get("JIRD_DUMP_WGSL", "")  # folder: write each compiled shader there
# parts of hybrid layers' decoding to leave apart, with commas, for measuring what each is worth:
#   norm   the delta rule's per-head norm and silu(z)
#   conv   the convolution behind the projection
#   stack  the projections of one input, a matrix each
HYBRID_APART = os.environ.get("JIRD_HYBRID_APART", "").split(",")
DELTA_STATE = os.environ.get("JIRD_DELTA_STATE", "f32")  # or f16x2: the delta rule's state, halved

# Knobs of a page's address, read by pwa_shell/jird.js:
#   ?device=reference   compute with the ops' numpy references, without a GPU: for tests and tiny
#                       models. Never chosen silently: without it such a browser gets E_NO_WEBGPU.
