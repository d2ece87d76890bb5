"""Moonshine tiny as a Hugging Face folder, made of the ONNX Runtime files in a wheel.

The wheel holds `encoder_model.ort` and `decoder_model_merged.ort`, flatbuffers of ONNX Runtime's
schema (ort.fbs), whose matrices are uint8 with one scale and zero point each, W (in, out); here
they become f32 rows (out, in) under the names of transformers' MoonshineForConditionalGeneration.
Convolutions, norms and biases are f32 already."""
import json
import re
import struct

# fields of ort.fbs by place, of the tables that are read
SESSION_MODEL, MODEL_GRAPH = 1, 7
GRAPH_INITIALIZERS, GRAPH_NODES = 0, 2
TENSOR_NAME, TENSOR_DIMS, TENSOR_TYPE, TENSOR_DATA = 0, 2, 3, 4
NODE_NAME, NODE_OP, NODE_INPUTS, NODE_ATTRIBUTES = 0, 5, 8, 10
ATTRIBUTE_NAME, ATTRIBUTE_GRAPH = 0, 7
FLOAT, UINT8 = 1, 2

CONFIG = {
    "architectures": ["MoonshineForConditionalGeneration"], "model_type": "moonshine",
    "vocab_size": 32768, "hidden_size": 288, "intermediate_size": 1152,
    "encoder_num_hidden_layers": 6, "decoder_num_hidden_layers": 6,
    "encoder_num_attention_heads": 8, "decoder_num_attention_heads": 8,
    "encoder_num_key_value_heads": 8, "decoder_num_key_value_heads": 8,
    "encoder_hidden_act": "gelu", "decoder_hidden_act": "silu", "partial_rotary_factor": 0.9,
    "rope_theta": 10000.0, "max_position_embeddings": 194, "attention_bias": False,
    "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1, "is_encoder_decoder": True,
    "tie_word_embeddings": True, "torch_dtype": "float32",
}
GENERATION = {"bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1, "max_length": 194}
TOKENIZER = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": "</s>",
             "unk_token": "<unk>", "clean_up_tokenization_spaces": False, "model_max_length": 194}
BYTES, PIECES, MARKS = 3, 259, 32000  # ids from which bytes, pieces, and timestamp marks lie
METASPACE = "\u2581"


class Fields:
    """A flatbuffer's table, by the places of its fields."""

    def __init__(self, table):
        self._table = table

    @classmethod
    def root(cls, data):
        """The root table of a .ort file, whose identifier is ORTM."""
        import flatbuffers
        if data[4:8] != b"ORTM":
            raise ValueError(f"no ONNX Runtime file: it begins with {data[4:8]!r}")
        return cls(flatbuffers.table.Table(data, struct.unpack_from("<I", data)[0]))

    def _at(self, place):
        return self._table.Offset(4 + 2 * place)

    def _begin(self, place):
        return self._at(place) + self._table.Pos

    def table(self, place):
        """A table, or None."""
        import flatbuffers
        if not self._at(place):
            return None
        where = self._table.Indirect(self._begin(place))
        return Fields(flatbuffers.table.Table(self._table.Bytes, where))

    def tables(self, place):
        """A vector of tables."""
        import flatbuffers
        return [Fields(flatbuffers.table.Table(self._table.Bytes, self._table.Indirect(at)))
                for at in self._places(place)]

    def texts(self, place):
        return [self._table.String(at).decode() for at in self._places(place)]

    def _places(self, place):
        if not self._at(place):
            return []
        begin, count = self._vector(place)
        return [begin + 4 * i for i in range(count)]

    def _vector(self, place):
        offset = self._at(place)
        return self._table.Vector(offset), self._table.VectorLen(offset)

    def text(self, place):
        return self._table.String(self._begin(place)).decode() if self._at(place) else ""

    def int32(self, place):
        if not self._at(place):
            return 0
        return struct.unpack_from("<i", self._table.Bytes, self._begin(place))[0]

    def int64s(self, place):
        if not self._at(place):
            return ()
        begin, count = self._vector(place)
        return struct.unpack_from(f"<{count}q", self._table.Bytes, begin)

    def raw(self, place):
        if not self._at(place):
            return b""
        begin, count = self._vector(place)
        return bytes(self._table.Bytes[begin:begin + count])


def graph_of(fields):
    """({initializer: (shape, type, bytes)}, [(node's name, op, inputs, {attribute: graph})])."""
    found = {}
    for tensor in fields.tables(GRAPH_INITIALIZERS):
        found[tensor.text(TENSOR_NAME)] = (tensor.int64s(TENSOR_DIMS), tensor.int32(TENSOR_TYPE),
                                           tensor.raw(TENSOR_DATA))
    nodes = []
    for node in fields.tables(GRAPH_NODES):
        inner = {a.text(ATTRIBUTE_NAME): a.table(ATTRIBUTE_GRAPH)
                 for a in node.tables(NODE_ATTRIBUTES)}
        nodes.append((node.text(NODE_NAME), node.text(NODE_OP), node.texts(NODE_INPUTS), inner))
    return found, nodes


def open_graph(data):
    """`graph_of` a .ort file's main graph."""
    return graph_of(Fields.root(data).table(SESSION_MODEL).table(MODEL_GRAPH))


# ---- weights -------------------------------------------------------------------------------------

def dequantised(found, name):
    """(shape, f32 bytes) of matrix `name`: (code - zero) * scale, rounded once."""
    shape, _, codes = found[name]
    base = name.removesuffix("_quantized")
    scale, = struct.unpack("<f", found[base + "_scale"][2])
    zero = found[base + "_zero_point"][2][0]
    values = [struct.pack("<f", (code - zero) * scale) for code in range(256)]
    return shape, b"".join(map(values.__getitem__, codes))


def transposed(shape, data):
    """A matrix (a, b) of f32 bytes as (b, a)."""
    rows, columns = shape
    words = memoryview(data).cast("I")
    return (columns, rows), b"".join(words[c::columns].tobytes() for c in range(columns))


class Weights(dict):
    """{tensor: (shape, f32 bytes)}; the same name twice must be the same numbers."""

    def put(self, name, value):
        if self.setdefault(name, value) != value:
            raise ValueError(f"two different tensors {name}")

    def matrices(self, found, nodes, prefix):
        """What the nodes multiply with, under the name of the module that a node stands for."""
        for name, op, inputs, _ in nodes:
            codes = [one for one in inputs if one.endswith("_quantized") and one in found]
            if op in ("MatMulIntegerToFloat", "DynamicQuantizeMatMul", "MatMulInteger") and codes:
                key = name.replace("/MatMul_quant", "").strip("/").replace("/", ".")
                where = "" if key == "proj_out" else prefix
                self.put(f"{where}{key}.weight", transposed(*dequantised(found, codes[0])))
            elif op == "Gather" and codes and "embed_tokens" in codes[0]:
                self.put("model.decoder.embed_tokens.weight", dequantised(found, codes[0]))

    def vectors(self, found, pattern, prefix=""):
        """f32 initializers whose names match, under the pattern's first group."""
        for name, (shape, kind, data) in found.items():
            match = re.fullmatch(pattern, name)
            if match and kind == FLOAT:
                self.put(prefix + match[1], (shape, data))


def weights_of(encoder, decoder):
    """{tensor: (shape, f32 bytes)} of the two .ort files."""
    weights = Weights()
    found, nodes = open_graph(encoder)
    weights.matrices(found, nodes, "model.encoder.")
    weights.vectors(found, r"(layers\.\d+\..*(?:weight|bias)|layer_norm\.weight"
                           r"|conv\d\.(?:weight|bias))(?:_add_tensor)?", "model.encoder.")
    for name, part in (("/groupnorm/Mul", "weight"), ("/groupnorm/Add", "bias")):
        inputs = next(inputs for at, _, inputs, _ in nodes if at == name)
        shape, _, data = next(found[one] for one in inputs if one in found)
        weights.put(f"model.encoder.groupnorm.{part}", ((len(data) // 4,), data))
    found, nodes = open_graph(decoder)
    branches = next(inner for _, op, _, inner in nodes if op == "If")
    for branch in ("else_branch", "then_branch"):
        own, inside = graph_of(branches[branch])
        inside = [(name.replace("/model/decoder", ""), *rest) for name, *rest in inside]
        weights.matrices({**found, **own}, inside, "model.decoder.")
    weights.vectors(found, r"(model\.decoder\..*(?:weight|bias))_merged_\d")
    if weights.pop("proj_out.weight") != weights["model.decoder.embed_tokens.weight"]:
        raise ValueError("the head is not the embedding")
    return weights


def safetensors(weights):
    """The bytes of a safetensors file."""
    header, begin = {"__metadata__": {"format": "pt"}}, 0
    for name, (shape, data) in sorted(weights.items()):
        header[name] = {"dtype": "F32", "shape": list(shape),
                        "data_offsets": [begin, begin + len(data)]}
        begin += len(data)
    head = json.dumps(header, separators=(",", ":")).encode()
    head += b" " * (-len(head) % 8)
    return b"".join([struct.pack("<Q", len(head)), head,
                     *(data for _, (_, data) in sorted(weights.items()))])


# ---- tokenizer -----------------------------------------------------------------------------------

def pieces_of(data):
    """The bytes of each id of a tokenizer.bin: a length in one byte, or in two from 128 on."""
    found, i = [], 0
    while i < len(data):
        size = data[i]
        i += 1
        if size >= 128:
            size += data[i] * 128 - 128
            i += 1
        found.append(data[i:i + size])
        i += size
    return found


def names_of(pieces):
    """The text of each id as Llama's tokenizer spells it."""
    special = ("<unk>", "<s>", "</s>")
    return [special[i] if i < BYTES else f"<0x{i - BYTES:02X}>" if i < PIECES
            else piece.decode("utf-8") for i, piece in enumerate(pieces)]


def merges_of(names, vocab):
    """[[left, right]] by the id that they make, then by their own: the order in which a
    SentencePiece model's scores fall."""
    found = []
    for name in names[PIECES:MARKS]:
        cuts = ((name[:i], name[i:]) for i in range(1, len(name)))
        pairs = [(a, b) for a, b in cuts if a in vocab and b in vocab]
        found += sorted(pairs, key=lambda pair: (vocab[pair[0]], vocab[pair[1]]))
    return [list(pair) for pair in found]


def tokenizer_json(data):
    """The tokenizer.json of a tokenizer.bin: byte-pair encoding, bytes for what has no piece."""
    names = names_of(pieces_of(data))
    vocab = {name: i for i, name in enumerate(names)}
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
             "special": True}
    ids = [*range(BYTES), *range(MARKS, len(names))]
    start = {"SpecialToken": {"id": "<s>", "type_id": 0}}
    sequence = {"Sequence": {"id": "A", "type_id": 0}}
    space = {"String": METASPACE}
    return {
        "version": "1.0", "truncation": None, "padding": None,
        "added_tokens": [{"id": i, "content": names[i], **plain} for i in ids],
        "normalizer": {"type": "Sequence", "normalizers": [
            {"type": "Prepend", "prepend": METASPACE},
            {"type": "Replace", "pattern": {"String": " "}, "content": METASPACE}]},
        "pre_tokenizer": None,
        "post_processor": {
            "type": "TemplateProcessing", "single": [start, sequence],
            "pair": [start, sequence, {"SpecialToken": {"id": "<s>", "type_id": 1}},
                     {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}}},
        "decoder": {"type": "Sequence", "decoders": [
            {"type": "Replace", "pattern": space, "content": " "}, {"type": "ByteFallback"},
            {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0}]},
        "model": {"type": "BPE", "dropout": None, "unk_token": "<unk>",
                  "continuing_subword_prefix": None, "end_of_word_suffix": None, "fuse_unk": True,
                  "byte_fallback": True, "ignore_merges": False, "vocab": vocab,
                  "merges": merges_of(names, vocab)},
    }


def folder_files(encoder, decoder, tokenizer):
    """{file name: bytes} of the folder, from the wheel's three files."""
    def text(value):
        return (json.dumps(value, ensure_ascii=False, indent=1) + "\n").encode()

    return {"config.json": text(CONFIG), "generation_config.json": text(GENERATION),
            "tokenizer_config.json": text(TOKENIZER),
            "tokenizer.json": text(tokenizer_json(tokenizer)),
            "model.safetensors": safetensors(weights_of(encoder, decoder))}
