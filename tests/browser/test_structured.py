"""Structured output in the page: a tiny model of random weights with a byte-level tokenizer, XGrammar in its worker."""

import json

import pytest

from pyengine.text.detokenize import byte_of_char
from tests.app.grammar_kit import valid
from tests.checkpoints import config, encoded, tensors
from tests.formats.safetensors_writer import safetensors
from tests.support import link_site

MARKS = ["<eos>", "<tool>", "</tool>"]
TEMPLATE = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}assistant:"
SCHEMAS = [
    {"type": "object", "required": ["name", "age"], "properties": {
        "name": {"type": "string", "maxLength": 6}, "age": {"type": "integer", "minimum": 1, "maximum": 130}}},
    {"type": "array", "minItems": 1, "maxItems": 3, "items": {"enum": ["red", "grün", "blue"]}},
    {"type": "number", "minimum": -1, "maximum": 0},
    {"anyOf": [{"type": "null"}, {"type": "string", "pattern": "^[a-c]{3}$"}]},
    {"type": "object", "required": ["ok", "list"], "properties": {"ok": {"type": "boolean"}, "list": {
        "type": "array", "maxItems": 2, "items": {"type": "string", "maxLength": 3}}}},
]
FORMAT = {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMAS[0]}}
RUN = """async ({ formats, body }) => {
    const { createEngine } = await import("./jird.js");
    const engine = window.engine ??= await createEngine({ model: "./spell/", quant: "keep", kv: "f32", context: 512 });
    const found = [];
    for (const response_format of formats) {
        try {
            const answer = await engine.chat.completions.create({ messages: [{ role: "user", content: "go" }],
                temperature: 1, seed: 5, max_tokens: 400, response_format, ...body });
            found.push({ text: answer.choices[0].message.content, reason: answer.choices[0].finish_reason });
        } catch (error) {
            found.push({ code: error.code, message: error.message });
        }
    }
    return found;
}"""


def write_model(folder):
    """A checkpoint whose tokens are the 256 bytes and MARKS."""
    folder.mkdir()
    c = config(vocab_size=259, eos_token_id=256, max_position_embeddings=512)
    data = {name: encoded(array, "F32") for name, array in tensors(c, seed=4).items()}
    (folder / "config.json").write_text(json.dumps(c))
    (folder / "model.safetensors").write_bytes(safetensors(data))
    vocab = {char: byte for char, byte in byte_of_char().items()}
    added = [{"id": 256 + i, "content": mark, "special": mark == "<eos>", "normalized": False,
              "single_word": False, "lstrip": False, "rstrip": False} for i, mark in enumerate(MARKS)]
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    (folder / "tokenizer.json").write_text(json.dumps({
        "version": "1.0", "added_tokens": added, "normalizer": None, "pre_tokenizer": level,
        "post_processor": None, "decoder": level,
        "model": {"type": "BPE", "vocab": vocab, "merges": []}}))
    (folder / "tokenizer_config.json").write_text(json.dumps(
        {"eos_token": "<eos>", "chat_template": TEMPLATE}))


@pytest.fixture
def blank(dist, serve, page, tmp_path):
    root = tmp_path / "app"
    link_site(dist, root)
    write_model(root / "spell")
    (root / "blank.html").write_text("<!doctype html><link rel=icon href='data:,'><title>x</title>")
    served = serve(root, "/some/app/")
    page.goto(served.url + "blank.html")
    page.log = served.log
    return page


def asked(page):
    return [entry.path for entry in page.log if "grammar" in entry.path]


def test_schemas_in_the_page(blank):
    plain = blank.evaluate(RUN, {"formats": [None], "body": {"max_tokens": 2}})
    assert plain[0]["reason"] == "length" and asked(blank) == []
    formats = [{"type": "json_schema", "json_schema": {"name": "x", "schema": s}} for s in SCHEMAS]
    bad = [{"type": "regex", "regex": "(a"}, {"type": "json_object", "more": 1}]
    found = blank.evaluate(RUN, {"formats": [*formats, *bad, formats[0]], "body": {}})
    for answer, schema in zip(found, SCHEMAS):
        assert answer["reason"] == "stop" and valid(json.loads(answer["text"]), schema), answer
    assert [one["code"] for one in found[5:7]] == ["E_BAD_REQUEST"] * 2
    assert "not closed" in found[5]["message"]
    assert found[7] == found[0]  # in a new worker, as the refusal ended the first
    cut, = blank.evaluate(RUN, {"formats": formats[:1], "body": {"max_tokens": 4}})
    assert cut["reason"] == "length" and found[0]["text"].startswith(cut["text"])
    assert len(set(asked(blank))) == 5  # what starts it, the worker, its core and lookaheads, XGrammar: once asked for


def test_streaming_and_an_abort(blank):
    found = blank.evaluate("""async ({ format }) => {
        const { createEngine } = await import("./jird.js");
        const engine = await createEngine({ model: "./spell/", quant: "keep", kv: "f32", context: 512 });
        const body = { messages: [{ role: "user", content: "go" }], temperature: 1, seed: 5, response_format: format };
        const whole = (await engine.chat.completions.create(body)).choices[0].message.content;
        let text = "";
        for await (const chunk of await engine.chat.completions.create({ ...body, stream: true })) {
            text += chunk.choices[0].delta.content ?? "";
        }
        const ending = new AbortController();
        let pieces = 0;
        try {
            for await (const chunk of await engine.chat.completions.create({ ...body, stream: true, signal: ending.signal })) {
                if (++pieces === 3) ending.abort();
            }
        } catch {}
        const again = (await engine.chat.completions.create(body)).choices[0].message.content;
        const plain = await engine.chat.completions.create({ ...body, response_format: null, max_tokens: 3 });
        return { whole, text, again, pieces, plain: plain.usage.completion_tokens };
    }""", {"format": FORMAT})
    assert found["whole"] == found["text"] == found["again"] and valid(json.loads(found["text"]), SCHEMAS[0])
    assert found["pieces"] >= 3 and found["plain"] >= 1


def test_steps_in_javascript_choose_what_single_ones_do(blank):
    """With log probabilities Python has each mask; without, the next forward is under way behind a draw. Then the chat goes on from what
    lies on the device (behind a stop, a grammar's end, a cut) as one does whose engine is new."""
    cases = [[FORMAT, 400], [FORMAT, 9], [{"type": "regex", "regex": "[a-z]{30}"}, 400]]
    found = blank.evaluate("""async (cases) => {
        const { createEngine } = await import("./jird.js"), fresh = () => createEngine({ model: "./spell/", quant: "keep", kv: "f32", context: 512 });
        const say = async (engine, turns, more) => (await engine.chat.completions.create({ temperature: 1, seed: 5, ...more,
            messages: [{ role: "user", content: "go" }, ...turns] })).choices[0].message.content;
        const plain = { max_tokens: 9, temperature: 0 }, found = [];
        const first = await fresh();
        for (const [response_format, max_tokens] of cases) {
            const single = await say(first, [], { response_format, max_tokens, logprobs: true });
            const several = await say(first, [], { response_format, max_tokens });
            const turns = [{ role: "assistant", content: several }, { role: "user", content: "on" }];
            found.push({ single, several, turns, on: await say(first, turns, plain) });
        }
        await first.unload();
        const other = await fresh();
        for (const one of found) one.anew = await say(other, one.turns, plain);
        return found;
    }""", cases)
    for one in found:
        assert one["single"] == one["several"] and one["on"] == one["anew"], one
    assert valid(json.loads(found[0]["several"]), SCHEMAS[0])
    assert found[0]["several"].startswith(found[1]["several"]) and len(found[2]["several"]) == 30
