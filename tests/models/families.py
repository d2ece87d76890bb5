"""The reference checkpoints by family, one row each, and what the tests of all families share."""
import asyncio
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pyengine.compile import compile_model
from pyengine.decode import state as st
from pyengine.device.numpy_ref import NumpyDevice, NumpyRunner
from pyengine.ir.ops import OPS
from tests.checkpoints import folder

GOLDENS = Path(__file__).resolve().parents[1] / "goldens"
LIMITS = {"numpy": 1e-4, "native": 2e-3}  # absolute, f32, of logits with a spread of about 1
TIE = 0.02                                # ten times the larger of them
CONTEXT = 1024                            # rings of the small windows wrap well before its end


@dataclass(frozen=True)
class Row:
    """A folder of tests/goldens with config.json, weights and golden.npz. `dispatches`: of a decode
    step, by layer at most and beside the layers."""
    path: str
    dispatches: tuple = (6, 4)

    @property
    def folder(self):
        return GOLDENS / self.path

    def checkpoint(self):
        return folder(self.folder)

    def golden(self):
        return np.load(self.folder / "golden.npz")


ROWS = tuple(map(Row, (
    "models-tiny/llama", "models-real-heads/llama",
    "models-tiny/qwen2", "models-real-heads/qwen2",
    "models-tiny/qwen3", "models-real-heads/qwen3",
    "models-tiny/gemma3", "models-real-heads/gemma3",
    "models-tiny/lfm2", "models-real-heads/lfm2",
))) + tuple(Row(f"{folder}/qwen3_5_text", (7, 4)) for folder in ("models-tiny", "models-real-heads"))


class Recorder(NumpyRunner):
    """Keeps a copy of each value that a program writes: the arena's bytes are used again."""

    def record(self, program):
        """Runs one program -> {value name: array}."""
        found = {}
        for dispatch in self.plan.programs[program]:
            node = dispatch.node
            arrays = [self._array(operand) for operand in dispatch.operands]
            results = OPS[node.op].reference(dict(node.attrs), *arrays[:len(node.inputs)])
            for name, array, result in zip(
                node.outputs, arrays[len(node.inputs):], results, strict=True
            ):
                array[...] = result
                found[name] = np.array(result)
        return found


def hidden_states(source, ids):
    """{mark: last valid row} of one prefill of `ids` on the oracle, unfused so that none is folded
    away."""
    model = compile_model(source.config, source.tensors, quant="keep", kv="f32", context=64,
                          caps=NumpyDevice().caps, fused=False)
    runner = Recorder(model.plan)
    asyncio.run(runner.upload(source.files, lambda done, total: None))
    words = np.zeros(st.WORDS, np.uint32)
    words[st.N] = len(ids)
    runner.write(model.plan.buffer("state"), 0, words.tobytes())
    runner.write(model.plan.buffer("tokens"), 0, np.array(ids, np.uint32).tobytes())
    graph = next(g for g in model.graphs if g.name == "prefill16")
    values = runner.record(graph.name)
    return {label: values[name][min(len(ids), len(values[name])) - 1]
            for label, name in graph.marks.items()}
