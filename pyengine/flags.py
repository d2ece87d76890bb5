"""Every debug knob, one line each. Nothing else in the engine reads the environment."""
import os

# substring of the native adapter's name to prefer
NATIVE_ADAPTER = os.environ.get("JIRD_ADAPTER", "")
DUMP_WGSL = os.environ.get("JIRD_DUMP_WGSL", "")  # folder: write each compiled shader there

# Knobs of a page's address, read by pwa_shell/jird.js:
#   ?device=reference   compute with the ops' numpy references, without a GPU: for tests and tiny
#                       models. Never chosen silently: without it such a browser gets E_NO_WEBGPU.
