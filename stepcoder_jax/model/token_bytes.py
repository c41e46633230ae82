"""The bytes behind each id of a fast tokenizer."""

import json
import re
from typing import Any

from stepcoder_jax.program import TokenBytes

_BYTE_TOKEN = re.compile(r"<0x([0-9A-F]{2})>")


def token_bytes(tokenizer: Any) -> TokenBytes:
    """Reads the table of a tokenizer whose tokens are byte-level or SentencePiece pieces.

    Args:
      tokenizer: a transformers fast tokenizer.

    Raises:
      ValueError: its decoder is of neither kind, so that bytes cannot be told exactly.
    """
    decoder = json.loads(tokenizer.backend_tokenizer.to_str())["decoder"]
    kinds = {decoder["type"], *(d["type"] for d in decoder.get("decoders", ()))} if decoder else ()
    if "ByteLevel" in kinds:
        to_bytes = _byte_level(_alphabet())
    elif "ByteFallback" in kinds or "Metaspace" in kinds:
        to_bytes = _sentencepiece
    else:
        raise ValueError(
            f"the tokenizer's decoder is {decoder!r:.200}: neither byte-level nor SentencePiece"
        )
    added = tokenizer.added_tokens_decoder
    pieces = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
    table = []
    for token, piece in enumerate(pieces):
        if token in added:
            is_text = not added[token].special
            table.append(added[token].content.encode() if is_text else b"")
        else:
            table.append(to_bytes(piece) if piece is not None else b"")
    return TokenBytes(table=tuple(table))


def _alphabet() -> dict[str, int]:
    """GPT-2's printable stand-in of every byte: itself where printable, else from U+0100 on."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    stand_ins = {chr(byte): byte for byte in printable}
    return stand_ins | {chr(0x100 + i): byte for i, byte in enumerate(others)}


def _byte_level(alphabet: dict[str, int]) -> Any:
    return lambda piece: bytes(alphabet[character] for character in piece)


def _sentencepiece(piece: str) -> bytes:
    byte = _BYTE_TOKEN.fullmatch(piece)
    return bytes([int(byte[1], 16)]) if byte else piece.replace("▁", " ").encode()
