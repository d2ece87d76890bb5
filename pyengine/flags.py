"""Every debug knob, one line each. Nothing else in the engine reads the environment."""
import os

NATIVE_ADAPTER = os.environ.get("JIRD_ADAPTER", "")        # substring of the native adapter's name to prefer
DUMP_WGSL = os.environ.get("JIRD_DUMP_WGSL", "")           # folder: write each compiled shader there
