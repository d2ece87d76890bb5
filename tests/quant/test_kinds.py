"""Weight kinds: names, row sizes, and the kinds that encodings and `--quant` names ask for."""

import pytest

from pyengine.errors import EngineError
from pyengine.quant.kinds import WeightKind, for_encoding, resolve_quant

AFFINE = [
    f"affine{bits}_g{group}_{scale}"
    for bits in (4, 8)
    for group in (16, 32, 64, 128)
    for scale in ("f16", "bf16", "f32")
]
DENSE = ["dense_f32", "dense_f16", "dense_bf16"]


@pytest.mark.parametrize("name", AFFINE + DENSE)
def test_name_and_parse_are_inverse(name):
    assert WeightKind.parse(name).name == name


@pytest.mark.parametrize("name", ["affine5_g32_f16", "affine4_g48_f16", "dense_f64", "", "q4_0"])
def test_unknown_names_are_refused(name):
    with pytest.raises(EngineError) as caught:
        WeightKind.parse(name)
    assert caught.value.code == "E_BAD_REQUEST"


def test_impossible_kind_cannot_be_made():
    with pytest.raises(EngineError):
        WeightKind("affine", 4, 48, "f16")


@pytest.mark.parametrize(
    "name, K, codes, scales, row",
    [
        ("affine4_g32_f16", 576, 72, 18, 92),  # 90 words, padded
        ("affine4_g32_f16", 32, 4, 1, 8),
        ("affine8_g16_f32", 16, 4, 2, 8),
        ("affine4_g16_f16", 16, 2, 1, 4),
        ("affine8_g64_f16", 64, 16, 1, 20),
        ("dense_f32", 7, 7, 0, 8),
        ("dense_bf16", 7, 4, 0, 4),
        ("dense_f16", 769, 385, 0, 388),
        ("dense_bf16", 1, 1, 0, 4),
    ],
)
def test_row_words(name, K, codes, scales, row):
    kind = WeightKind.parse(name)
    assert (kind.code_words(K), kind.scale_words(K), kind.row_words(K)) == (codes, scales, row)
    assert kind.nbytes(83, K) == 83 * row * 4


@pytest.mark.parametrize(
    "encoding, name",
    [
        ("q4_0", "affine4_g32_f16"),
        ("q4_1", "affine4_g32_f16"),
        ("q8_0", "affine8_g32_f16"),
        ("q4_k", "affine4_g32_f32"),
        ("q5_k", "affine8_g32_f32"),
        ("q6_k", "affine8_g16_f32"),
        ("bf16", "dense_bf16"),
        ("f16", "dense_f16"),
        ("f32", "dense_f32"),
    ],
)
def test_keep_holds_what_the_file_holds(encoding, name):
    assert for_encoding(encoding, 256).name == name
    assert resolve_quant("keep", encoding, False, 256).name == name


def test_integers_hold_no_weights():
    with pytest.raises(EngineError) as caught:
        for_encoding("i64", 8, tensor="position_ids")
    assert caught.value.code == "E_UNSUPPORTED_TENSOR"
    assert caught.value.facts["tensor"] == "position_ids"


@pytest.mark.parametrize(
    "quant, head, K, name",
    [
        ("mixed4", False, 576, "affine4_g64_f16"),
        ("mixed4", True, 576, "affine8_g64_f16"),
        ("affine4-g32", True, 576, "affine4_g32_f16"),
        ("affine4-g64", True, 128, "affine4_g64_f16"),
        ("affine8-g64", False, 96, "affine8_g32_f16"),
        ("affine4-g64", False, 48, "affine4_g16_f16"),
        ("affine4-g32", False, 64, "affine4_g32_f16"),
        ("mixed4", False, 769, "dense_bf16"),
        ("mixed4", False, 83, "dense_bf16"),
    ],
)
def test_quant_names(quant, head, K, name):
    assert resolve_quant(quant, "bf16", head, K).name == name


def test_unknown_quant_name_is_refused():
    with pytest.raises(EngineError) as caught:
        resolve_quant("int3", "bf16", False, 64)
    assert caught.value.code == "E_BAD_REQUEST"
    assert "mixed4" in caught.value.message
