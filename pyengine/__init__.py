"""Jird's engine: plans language models as WebGPU work, in plain Python. See
docs/architecture.md."""
__version__ = "0.1.0"
