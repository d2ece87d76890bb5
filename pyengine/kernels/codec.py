"""Speech: the codec's ops (`ir/codec_ops.py`), the mask of a voice model's tokens, and where its
frames and its speaker lie (`ir/voice_ops.py`)."""
from math import prod

from pyengine.ir import voice_ops  # noqa: F401  registers its ops
from pyengine.ir.codec_ops import lanes
from pyengine.kernels.spec import KernelSpec, Launch, NodeView, ceil_div

# op: (has HalfSnake before it, what its end does, slot of the kernel's operand)
CONVS = {"causal_conv": (False, "plain", 1), "snake_conv": (True, "plain", 2),
         "snake_conv_add": (True, "add", 2), "snake_conv_into": (True, "into", 2),
         "snake_conv_clamp": (True, "clamp", 2)}
# rows of a tile; vec4 of outputs side by side, at most
TILES = {"8": (8, 4), "32": (32, 8), "64": (64, 8), "cpu8": (8, 8), "cpu32": (32, 8)}


def _tile(channels, outputs, caps):
    """By the channels only, never by the rows: every program adds up in the same order. Many
    channels have few rows: small tiles there, whose threads share the channels."""
    if caps.software:
        return "cpu8" if channels >= 128 else "cpu32"
    if outputs > 4 and channels >= 256 or channels < 32 and outputs > 256:
        return "8"
    return "32" if channels >= 80 and outputs > 4 else "64"


def _launch_conv(op):
    snake, end, slot = CONVS[op]

    def launch(node, values, caps):
        view = NodeView(node, values)
        x, (taps, channels, outputs) = view[0], view[slot].shape
        tile = _tile(channels, outputs, caps)
        rows, most = TILES[tile]
        out4 = outputs // 4
        tiles = ceil_div(out4, most)
        cols = ceil_div(out4, tiles)  # as even as they can be
        constants = {"IN4": channels // 4, "OUT4": out4, "TAPS": taps, "COLS": cols,
                     "DILATION": view.attrs["dilation"], "RATE": view.attrs["rate"]}
        if snake:
            constants["SNAKE"] = view[1].shape[0]
        if end == "into":
            constants["COUNT"] = float(view.attrs["count"])
        grid = (ceil_div(out4, cols), ceil_div(x.shape[0], rows), 1)
        return Launch({"snake": snake, "end": end, "tile": tile}, constants, grid)

    return launch


def _launch_up(node, values, caps):
    view = NodeView(node, values)
    x, kernel, y = view[0], view[2], view[6]
    constants = {"C": kernel.shape[0], "IN4": x.shape[1] // 4, "OUT4": y.shape[1] // 4,
                 "R": view.attrs["stride"], "W": kernel.shape[1], "RATE": view.attrs["rate"],
                 "SNAKE": view[1].shape[0]}
    threads = max(x.shape[0] * constants["OUT4"], constants["IN4"])
    return Launch({}, constants, (ceil_div(threads, 64), 1, 1))


def _launch_fsq(node, values, caps):
    view = NodeView(node, values)
    levels = {f"L{i}": count for i, count in enumerate(view.attrs["levels"])}
    frames, groups = view[0].shape
    return Launch({}, {"GROUPS": groups, **levels}, (ceil_div(frames * groups, 64), 1, 1))


def _launch_norm(node, values, caps):
    view = NodeView(node, values)
    shape, units = view[0].shape, view[1].shape[0]
    count, unit, step = prod(shape[:-1]), 1, shape[-1]
    if view.attrs["by"] == "rows":
        count, unit, step = shape[1], shape[1], 1
    constants = {"UNITS": units, "UNIT": unit, "COUNT": count, "STEP": step}
    return Launch({}, constants, (ceil_div(units, 64), 1, 1))


def _launch_mask(node, values, caps):
    view = NodeView(node, values)
    vocab = view[0].shape[1]
    constants = {name.upper(): value for name, value in view.attrs.items()} | {"VOCAB": vocab}
    return Launch({}, constants, (ceil_div(vocab, 64), 1, 1))


def _launch_frame_start(node, values, caps):
    view = NodeView(node, values)
    constants = {"MANY": view[0].shape[0] > 1, "AUDIO": view.attrs["audio"]}
    return Launch({}, constants, (1, 1, 1))


def _launch_speaker(node, values, caps):
    view = NodeView(node, values)
    (rows, width), (_, size) = view[0].shape, view[2].shape
    constants = {"MANY": rows > 1, "H": width, "D": size, "ROW": lanes(size),
                 "TOKEN": view.attrs["token"]}
    return Launch({}, constants, (ceil_div(width, 64), rows, 1))


def _variants(op):
    """Samples have one output channel, which never takes the tiles for many."""
    snake, end, _ = CONVS[op]
    tiles = [tile for tile in TILES if end != "clamp" or tile not in ("8", "32")]
    return tuple({"snake": snake, "end": end, "tile": tile} for tile in tiles)


SPECS = (
    *(KernelSpec(op, "causal_conv", _launch_conv(op), _variants(op)) for op in CONVS),
    KernelSpec("snake_up", "snake_up", _launch_up, ({},)),
    KernelSpec("fsq_dequant", "fsq_dequant", _launch_fsq, ({},)),
    KernelSpec("weight_norm", "weight_norm", _launch_norm, ({},)),
    KernelSpec("speech_mask", "speech_mask", _launch_mask, ({},)),
    KernelSpec("frame_start", "frame_start", _launch_frame_start, ({},)),
    KernelSpec("speaker_rows", "speaker_rows", _launch_speaker, ({},)),
)
