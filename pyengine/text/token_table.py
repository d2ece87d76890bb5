"""A tokenizer's vocabulary for a grammar: the bytes that each id stands for, whatever its kind of
tokenizer, written in byte-level BPE's alphabet, because bytes that are not UTF-8 have no JSON."""

from pyengine.text.detokenize import byte_of_char, token_bytes

_CHAR_OF_BYTE = {byte: char for char, byte in byte_of_char().items()}
_ALPHABET = frozenset(_CHAR_OF_BYTE.values())
_LATIN = {byte: char for byte, char in _CHAR_OF_BYTE.items() if chr(byte) != char}


def _spelled(data):
    return data.decode("latin-1").translate(_LATIN)


def token_table(tokenizer, hidden=()):
    """A text for each id of `tokenizer`: "" for special tokens, ids in `hidden` and ids without a
    token, which no grammar may use."""
    decoder, found = tokenizer.decoder, []
    byte_level = decoder is not None and decoder.get("type") == "ByteLevel"
    none = tokenizer.special_ids | frozenset(hidden)
    for i, token in enumerate(tokenizer.all_tokens()):
        if token is None or i in none:
            found.append("")
        elif byte_level and _ALPHABET.issuperset(token):
            found.append(token)  # it is spelled so already
        else:
            found.append(_spelled(token_bytes(decoder, token)))
    return found
