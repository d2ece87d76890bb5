"""A tiny model of random logits whose tokens spell ASCII, with the native grammar back end; random
JSON schemas and a checker of values."""

import json
import re

from app import grammar_hosts
from app.openai_api import parse_chat, parse_completion
from app.session import Outcome, Session
from pyengine.engine import load
from pyengine.formats.checkpoint import open_checkpoint
from pyengine.formats.source import BytesSource
from tests.app.fakes import FakeTemplate
from tests.checkpoints import config, encoded, tensors
from tests.formats.safetensors_writer import safetensors

MARKS = ["<eos>", "<think>", "</think>"]
WORDS = ['{"', '": ', '", "', '"}', "]}", "12", "true", "abc", "é", "\n", "\t", "\x01", '""']
TOKENS = MARKS + [chr(c) for c in range(32, 127)] + WORDS
EOS, OPENS, CLOSES = range(3)


class AsciiTokenizer:
    """A character is a token; text is spelled so, and read back by joining."""

    vocab_size, decoder, special_ids = len(TOKENS), {"type": "Fuse"}, frozenset([EOS])

    def encode(self, text, add_special_tokens=False):
        return [TOKENS.index(c) for c in text]

    def token_to_id(self, token):
        return TOKENS.index(token) if token in TOKENS else None

    def all_tokens(self):
        return [*TOKENS]

    def tokens(self, ids, skip_special_tokens=True):
        return [TOKENS[i] for i in ids if EOS < i < len(TOKENS)]

    def eos_ids(self, generation_config=None):
        return [EOS]

    def token_bytes(self, i):
        return TOKENS[i].encode()

    def detokenizer(self, continues=False):
        return _Joined()


class _Joined:
    def push(self, token):
        return token

    def flush(self):
        return ""


async def open_session(on, tokenizer=None, open_grammar=None, template=FakeTemplate, source="x",
                       checkpoint=None, **options):
    """A Session of the tiny model (or `checkpoint`) on a device, with a chat template whose text is
    `source`. Vocabulary: TOKENS, padded to the model's ids."""
    if checkpoint is None:
        checkpoint = await _checkpoint(config(vocab_size=131, max_position_embeddings=1024))
    checkpoint.chat_template = source
    tokenizer = tokenizer or AsciiTokenizer()
    options = {"quant": "keep", "kv": "f32", "context": 1024, **options}
    engine = await load(checkpoint, on, tokenizer=tokenizer, **options)

    async def make_template(_):
        return template()

    return Session(engine, "tiny", checkpoint, tokenizer, make_template,
                   open_grammar=open_grammar or grammar_hosts.NodeHost.open)


async def _checkpoint(c):
    data = {n: encoded(a, "F32") for n, a in tensors(c, seed=9).items()}
    files = {"config.json": json.dumps(c).encode(), "model.safetensors": safetensors(data)}
    return await open_checkpoint({n: BytesSource(n, raw) for n, raw in files.items()})


async def takes(session, grammar, text):
    """How many characters of `text` a grammar lets pass, one token each, and whether it may end
    there."""
    matcher, passed = await session._grammars.begin(grammar), 0
    for char in text:
        token = TOKENS.index(char)
        if not matcher.mask[token // 8] >> token % 8 & 1:
            break
        matcher.advance(token)
        await matcher.settle()
        passed += 1
    ends = bool(matcher.mask[EOS // 8] >> EOS % 8 & 1)
    await matcher.close()
    return passed, ends


async def ask(session, response_format, cancel=None, **body):
    """The Outcome of one completion (or chat, where `messages` are given)."""
    body = {"max_tokens": 700, "temperature": 1.0, "seed": 1, "response_format": response_format,
            **body}
    request = parse_chat(body) if "messages" in body else parse_completion({"prompt": "go", **body})
    outcome = Outcome()
    async for _ in session.generate(request, cancel, outcome):
        pass
    return outcome


def json_schema(schema, **more):
    return {"type": "json_schema", "json_schema": {"name": "x", "schema": schema, **more}}


# ---- schemas -------------------------------------------------------------------------------------


def random_schema(rng, depth=2):
    """Bounded schemas: every string has maxLength, every array maxItems."""
    kind = rng.choice(["string", "integer", "number", "boolean", "null", "enum", "const", "pattern"]
                      + ["array", "object", "anyOf"] * (2 if depth else 0))
    if kind == "string":
        low = rng.randrange(4)
        return {"type": "string", "minLength": low, "maxLength": low + rng.randrange(6)}
    if kind == "integer":
        low = rng.randrange(-500, 500)
        return {"type": "integer", "minimum": low, "maximum": low + rng.randrange(1000)}
    if kind == "number":
        low = rng.randrange(-9, 9)
        return {"type": "number", "minimum": low, "maximum": low + 1 + rng.randrange(9)}
    if kind == "enum":
        return {"enum": rng.sample(["a", "b c", 7, -2.5, None, True, 'q"\\'], 3)}
    if kind == "const":
        return {"const": rng.choice(["only", 12, False])}
    if kind == "pattern":
        return {"type": "string", "pattern": rng.choice(["^[a-f]{2,5}$", "^(no|yes)!?$", "^x[0-9]{3}$", "^.{1,3}$",
                                                         "^[^@]{1,2}@[^@]$", "^(a|b)$|^c$"])}
    if kind == "array":
        low = rng.randrange(3)
        return {"type": "array", "items": random_schema(rng, depth - 1), "minItems": low,
                "maxItems": low + rng.randrange(3)}
    if kind == "anyOf":
        return {"anyOf": [random_schema(rng, depth - 1) for _ in range(2)]}
    if kind == "object":
        names = rng.sample(["id", "minimum", 'a" b', "é", "pattern", "list"], rng.randrange(1, 4))
        required = [name for name in names if rng.random() < 0.6]
        return {"type": "object", "properties": {n: random_schema(rng, depth - 1) for n in names},
                "required": required, "additionalProperties": False}
    return {"type": kind}


TYPES = {"string": str, "boolean": bool, "null": type(None), "array": list, "object": dict,
         "number": (int, float), "integer": int}


def valid(value, schema):
    """Whether `value` holds to `schema`, of the keywords that `random_schema` and the tests use."""
    if "enum" in schema or "const" in schema:
        allowed = schema.get("enum", [schema.get("const")])
        return any(type(value) is type(one) and value == one for one in allowed)
    if "anyOf" in schema:
        return any(valid(value, one) for one in schema["anyOf"])
    kind = schema["type"]
    if isinstance(kind, list):
        return any(valid(value, {**schema, "type": one}) for one in kind)
    if not isinstance(value, TYPES[kind]) or isinstance(value, bool) is not (kind == "boolean"):
        return False
    if kind == "string":
        return (schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", 1e9)
                and re.search(schema.get("pattern", ""), value) is not None)
    if kind in ("integer", "number"):
        return schema.get("minimum", value) <= value <= schema.get("maximum", value)
    if kind == "array":
        return (schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", 1e9)
                and all(valid(one, schema["items"]) for one in value))
    if kind == "object":
        declared = schema["properties"]
        return (set(schema.get("required", ())) <= set(value) <= set(declared)
                and all(valid(one, declared[name]) for name, one in value.items()))
    return True
