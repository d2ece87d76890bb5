"""Op cases of the codec's kernels: {group name: [Case]}. Rows, n and pos count frames."""
from itertools import product

from pyengine.ir.codec_ops import lanes
from tests.kernels.one_op import Case

# first frame, valid frames, frames of the program, rows of a frame
PLACES = ((0, 1, 1, 1), (0, 1, 1, 7), (1, 1, 1, 7), (3, 2, 4, 7), (83, 4, 4, 6), (0, 7, 16, 1),
          (2, 7, 16, 11), (1, 16, 16, 49), (769, 1, 4, 83), (0, 1, 1, 769))
# channels in and out: each tile, GPU and CPU, and what falls between
CHANNELS = ((4, 4), (132, 4), (16, 260), (28, 28), (84, 84), (132, 56), (260, 36), (16, 20))
KERNELS = ((3, 1), (3, 5), (7, 1), (7, 3), (11, 5))  # taps, dilation


def conv_cases(op):
    for (pos, n, frames, rate), (wide, out), (taps, dilation) in product(PLACES, CHANNELS, KERNELS):
        if frames * rate * wide > 60000 or op == "snake_conv_clamp" and out != 4:
            continue
        rows, attrs = frames * rate, {"rate": rate, "taps": taps, "dilation": dilation}
        x, kernel = ("x", (rows, wide), "f32"), ("kernel", (taps, wide, out), "f32")
        alpha = (("alpha", (max(1, wide // 2 - 1),), "f32"),) if op != "causal_conv" else ()
        rest = [("offsets", (out,), "f32")]
        if op in ("snake_conv_add", "snake_conv_into"):
            rest.append(("residual", (rows, out), "f32"))
        if op == "snake_conv_into":
            rest.append(("acc", (rows, out), "f32"))
            attrs["count"] = 1 + taps % 3
        past = ("past", (2, (taps - 1) * dilation, wide), "f32")
        inputs = (x, *alpha, kernel, *rest, past)
        yield Case(op, tuple(sorted(attrs.items())), inputs, frames, n, pos)


def up_cases():
    for (pos, n, frames, rate), channels, stride in product(PLACES, (2, 6, 14, 84, 770), (2, 3, 7)):
        wide, rows = lanes(channels), frames * rate
        attrs = (("channels", channels), ("rate", rate), ("stride", stride))
        inputs = (("x", (rows, wide), "f32"), ("alpha", (channels // 2,), "f32"),
                  ("kernel", (channels, lanes(2 * stride)), "f32"),
                  ("offsets", (lanes(channels // 2),), "f32"), ("past", (2, 1, wide), "f32"))
        yield Case("snake_up", attrs, inputs, frames, n, pos)


def fsq_cases():
    levels = ((9, 8, 8, 7), (5, 4, 3, 2))
    for (pos, n, frames, _), levels, groups in product(PLACES, levels, (1, 4)):
        yield Case("fsq_dequant", (("levels", levels),), (("codes", (frames, groups), "u32"),),
                   frames, n, pos)


def norm_cases():
    for taps, wide, out in ((1, 4, 1), (3, 28, 27), (7, 16, 83), (11, 84, 769)):
        yield Case("weight_norm", (("by", "columns"),), (
            ("kernel", (taps, wide, lanes(out)), "f32"), ("lengths", (out,), "f32")))
        yield Case("weight_norm", (("by", "rows"),), (
            ("kernel", (out, lanes(taps)), "f32"), ("lengths", (out,), "f32")))


def mask_cases():
    """Vocabularies that end with the audio tokens, beyond them, and between; every sort of last
    id."""
    ids = {"audio": 20, "codebook": 7, "groups": 4, "start": 11, "end": 12, "opening": 15}
    for vocab, last, (rows, n) in product((48, 83, 769), (3, 11, 12, 15, 19, 20, 26, 27, 47, 48),
                                          ((1, 1), (16, 7), (16, 16))):
        if last < vocab:
            inputs = (("logits", (1, vocab), "f32"), ("ids", (rows,), "u32"))
            yield Case("speech_mask", tuple(sorted(ids.items())), inputs, rows, n, last)


def speaker_cases():
    """The last of the ids is the case's pos, the others 48: the token's row, all others, or none."""
    for (rows, n), (width, size), token in product(((1, 1), (16, 7), (83, 83)), ((7, 1), (64, 10), (769, 128)),
                                                   (48, 7, 3)):
        inputs = (("x", (rows, width), "f32"), ("ids", (rows,), "u32"), ("speaker", (1, size), "f32"),
                  ("projection", (width, lanes(size)), "f32"))
        yield Case("speaker_rows", (("token", token),), inputs, rows, n, 7)


def groups():
    found = {op: list(conv_cases(op)) for op in (
        "causal_conv", "snake_conv", "snake_conv_add", "snake_conv_into", "snake_conv_clamp")}
    return found | {"snake_up": list(up_cases()), "fsq_dequant": list(fsq_cases()),
                    "weight_norm": list(norm_cases()), "speech_mask": list(mask_cases()),
                    "speaker_rows": list(speaker_cases())}
