"""The real SmolLM2-135M-Instruct (Q4_1 GGUF) against transformers' greedy ids, and its first
logits.

`first_logits.npz`: logits after the prompt "1, 2, 3, 4, 5,", computed from the GGUF's values in
f64.
"""
import json
from pathlib import Path

import numpy as np
import pytest

from app.build import settings
from tests.checkpoints import close, engine, first_logits, folder, generated

GOLDENS = Path(__file__).resolve().parents[1] / "goldens" / "smollm2"
PROMPTS = json.loads((GOLDENS / "greedy_margins.json").read_text())
NUMBERS = next(i for i, p in enumerate(PROMPTS) if p["prompt"] == "1, 2, 3, 4, 5,")
TIE = 0.1
LIMIT = 2e-3  # absolute; the logits' spread is 2.7
CONTEXT = 256


def until(prompt):
    """Ids before the reference's first near-tie."""
    return next((i for i, m in enumerate(prompt["margins"]) if m < TIE), len(prompt["greedy"]))


CLEAR = [i for i, prompt in enumerate(PROMPTS) if until(prompt)]


@pytest.fixture(scope="module")
def gguf(request):
    """The file of the shipped model; the site is built where it is missing."""
    path = Path("models", "smollm2-135m-instruct", "model.gguf")
    if not (settings.DIST / path).exists():
        return request.getfixturevalue("dist") / path
    return settings.DIST / path


@pytest.fixture(scope="module")
def engines(gguf):
    """engines(device name) -> Engine; one at a time, because each holds the whole model."""
    held = {}

    def get(on):
        if on not in held:
            close(*held.values())
            held.clear()
            held[on] = engine(folder(gguf), on, context=CONTEXT, burst=4)
        return held[on]

    yield get
    close(*held.values())


def test_there_are_eleven_prompts():
    assert len(PROMPTS) == 11 and len(CLEAR) == 10 and sum(map(until, PROMPTS)) == 115


@pytest.mark.parametrize("on,index", [(on, i) for on in ("numpy", "native") for i in CLEAR])
def test_greedy_ids(engines, on, index):
    prompt = PROMPTS[index]
    clear = until(prompt)
    ids, reason = generated(engines(on), prompt["ids"], max_tokens=clear, stop_ids=(2,))
    assert ids == prompt["greedy"][:clear], prompt["prompt"]
    assert reason == ("stop" if ids[-1] == 2 else "length")


@pytest.mark.parametrize("on", ["native", "numpy"])
def test_first_logits(engines, on):
    found = first_logits(engines(on), PROMPTS[NUMBERS]["ids"])
    want = np.load(GOLDENS / "first_logits.npz")["numbers"]
    assert want.std() > 2 and np.abs(found - want).max() < LIMIT


@pytest.mark.parametrize("on", ["native", "numpy"])
def test_the_near_tie_at_a_first_token(engines, on):
    """Prompt 0's first margin is 0.08: either of the two is right, with the margin the reference
    saw."""
    prompt = PROMPTS[0]
    found = np.sort(first_logits(engines(on), prompt["ids"]))
    assert abs(found[-1] - found[-2] - prompt["margins"][0]) < LIMIT
