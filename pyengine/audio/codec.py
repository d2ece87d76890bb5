"""A neural codec on a device: frames of codes in, samples out, as they come."""
import struct
from dataclasses import dataclass

from pyengine import compile as planner
from pyengine.caps import Caps
from pyengine.decode import state as st
from pyengine.errors import EngineError
from pyengine.ir.verify import verify
from pyengine.models import nanocodec
from pyengine.models.builder import Builder
from pyengine.plan.plan import Plan
from pyengine.plan.schedule import make_plan
from pyengine.warmup import warm_up

# frames of the programs; a run takes the smallest that holds its frames
BUCKETS = (1, 4, 16)
NORMED = ".weight_v"


@dataclass(frozen=True)
class CompiledCodec:
    """A codec's plan; `prepares`: its program "norms" must run once after the upload."""
    plan: Plan
    config: nanocodec.Config
    prepares: bool
    graphs: tuple


def compile_codec(config, tensors=None, caps=None, buckets=BUCKETS):
    """Plans NanoCodec's decoder from its config and, for loading, its {name: TensorRef}.

    Raises `E_UNSUPPORTED_MODEL`, `E_UNSUPPORTED_CONFIG`, `E_UNSUPPORTED_TENSOR`,
    `E_MISSING_TENSOR`, `E_UNUSED_TENSOR`, `E_OUT_OF_MEMORY`."""
    caps = caps or Caps()
    # nanocodec-mlx's folders name no type, only the parts' configs
    kind = config.get("model_type", "nanocodec" if "decoder_config" in config else None)
    if kind not in nanocodec.CODEC_TYPES:
        raise EngineError("E_UNSUPPORTED_MODEL", model_type=str(kind)[:80],
                          known=", ".join(nanocodec.CODEC_TYPES))
    cfg = nanocodec.Config.from_hf(config)
    tensors = planner.renamed(tensors, nanocodec)
    normed = frozenset(name.removesuffix(NORMED) for name in tensors or ()
                       if name.endswith(NORMED))
    weights, missing = planner.weights_of(
        tensors, lambda tensor, columns, embedding: planner.F32, caps)

    def graph(name, frames, build):
        b = Builder(name, frames, 0, weights, max_binding=caps.max_binding)
        out = build(nanocodec.Decoder(cfg, b, normed))
        b.graph.outputs = (out,) if out else ()
        planner.refuse_missing(missing)
        return verify(b.graph)

    graphs = [graph(f"frames{n}", n, nanocodec.Decoder.build) for n in buckets]
    if normed:
        graphs.append(graph("norms", 1, nanocodec.Decoder.norms))
    if tensors is not None:
        planner.check_unused(tensors, weights.tensors, nanocodec)
    plan = make_plan(graphs, weights, {}, caps, tensors, ring=cfg.frame * max(buckets))
    return CompiledCodec(plan, cfg, bool(normed), tuple(graphs))


async def load_codec(checkpoint, device, on_progress=None, buckets=BUCKETS):
    """-> Codec. `on_progress(stage, done, total)` as `engine.load`'s. Raises what `compile_codec`
    raises, `E_TRUNCATED`, `E_GPU`; memory is released then."""
    def report(stage):
        return lambda done, total: on_progress and on_progress(stage, done, total)

    model = compile_codec(checkpoint.config, checkpoint.tensors, device.caps, buckets)
    runner = await device.prepare(model.plan, report("compile"))
    try:
        await runner.upload(checkpoint.files, report("upload"))
        await runner.ready()
        await warm_up(runner, model.plan, report("warmup"))
        if model.prepares:
            await runner.run([(("norms",), 1)], read=(model.plan.buffer("state"), 0, 4))
    except BaseException:
        runner.close()
        raise
    return Codec(device, runner, model)


class Codec:
    """A loaded codec. `decode` goes on where it stopped until `reset`; the device stays the
    caller's."""

    def __init__(self, device, runner, model):
        self.device, self._runner, self.model = device, runner, model
        self.config, plan = model.config, model.plan
        self._state, self._codes, self._audio = map(plan.buffer, ("state", "codes", "audio"))
        self._buckets = plan.sizes("frames")
        self.reset()

    @property
    def sample_rate(self):
        """Samples of a second."""
        return self.config.sample_rate

    def reset(self):
        """The next frame is the first of another utterance."""
        self._frame = self._run = 0

    async def decode(self, frames):
        """Samples of the next `frames` [[code of each group]]: f32 in -1 .. 1, little endian bytes,
        `config.frame` a frame. Frames decoded together or one by one give the same bits. Raises
        `E_BAD_REQUEST` for a wrong number of codes and codes out of range, before any is decoded,
        and what the device raises."""
        self._check(frames)
        found, most = [], self._buckets[-1]
        for at in range(0, len(frames), most):
            found.append(await self._decode(frames[at:at + most]))
        return b"".join(found)

    async def _decode(self, frames):
        n = len(frames)
        bucket = next(size for size in self._buckets if size >= n)
        codes = [code for frame in frames for code in frame]
        state = struct.pack("<4I", self._frame, n, 0, self._run)
        self._runner.write(self._state, 0, state + bytes(st.NBYTES - len(state)))
        self._runner.write(self._codes, 0, struct.pack(f"<{len(codes)}I", *codes))
        read = (self._audio, 0, 4 * n * self.config.frame)
        data = await self._runner.run([((f"frames{bucket}",), 1)], read=read)
        self._frame, self._run = self._frame + n, self._run + 1
        return data

    def _check(self, frames):
        groups, most = self.config.groups, self.config.codebook
        for number, frame in enumerate(frames):
            if len(frame) != groups:
                raise EngineError("E_BAD_REQUEST", param=f"frame {number}",
                                  got=f"{len(frame)} codes", wanted=f"{groups}")
            for code in frame:
                if type(code) is not int or not 0 <= code < most:
                    raise EngineError("E_BAD_REQUEST", param=f"a code of frame {number}",
                                      got=repr(code)[:80], wanted=f"a number from 0 to {most - 1}")

    def bytes_needed(self):
        """GPU memory by part, as `Plan.bytes_needed`."""
        return self.model.plan.bytes_needed()

    def dispatches(self):
        """Dispatches of a run, however many frames it has."""
        return self.model.plan.dispatches(f"frames{self._buckets[0]}")

    def live(self):
        """Live device objects by kind, for leak tests."""
        return self._runner.live()

    def close(self):
        """Releases the codec's memory."""
        self._runner.close()
