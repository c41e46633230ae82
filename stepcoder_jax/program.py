"""From token ids to the program that is executed, and back to each token's place in it."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Int

from stepcoder_jax.extract import Fence, program_span


@dataclass(frozen=True, kw_only=True)
class TokenBytes:
    """The bytes each token id stands for; special tokens stand for none.

    Decoding bytes instead of asking the tokenizer keeps a token that holds a part of a character
    exact, and makes each token's place in the text a running sum.
    """

    table: tuple[bytes, ...]

    def join(self, tokens: Sequence[int]) -> bytes:
        """The bytes of a sequence; ids beyond the tokenizer (a padded vocabulary) are empty."""
        return b"".join(self.table[i] if i < len(self.table) else b"" for i in tokens)

    def text(self, tokens: Sequence[int]) -> str:
        """The text of a sequence; bytes that are not UTF-8 become U+FFFD."""
        return self.join(tokens).decode("utf-8", errors="replace")

    @cached_property
    def longest(self) -> int:
        """Bytes of the longest token."""
        return max(map(len, self.table), default=0)


@dataclass(frozen=True, kw_only=True)
class Program:
    """A program assembled from a prefix and a response.

    Attributes:
      text: prefix and response up to the first stop string, or the code block in it: what is
        executed.
      token_spans: int64, half-open code points of ``text`` that each response token wrote. A token
        that wrote nothing of it, before the code block or behind the cut, has an empty span at the
        end; a token that wrote a part of a character has the whole character.
      is_end: bool, response tokens that end the response: the end token, and those that wrote the
        stop string.
      stopped: whether a stop string was found.
    """

    text: str
    token_spans: Int[np.ndarray, "R 2"]
    is_end: np.ndarray
    stopped: bool


def assemble(
    token_bytes: TokenBytes,
    prefix: Sequence[int],
    response: Sequence[int],
    *,
    stop: Sequence[str],
    end_token: int,
    fence: Fence = "none",
) -> Program:
    """Builds the program of a response, the same way in training and evaluation.

    Args:
      prefix: ids of the curriculum's prefix; the program begins with them.
      response: ids the policy sampled, its end token included if it produced one.
      stop: strings that end a response; looked for in the response only.
      fence: where in the response the program is; with ``search`` there is no prefix.

    Returns:
      The program and the place of every response token in it.
    """
    pieces = [token_bytes.join([i]) for i in response]
    head = token_bytes.join(prefix)
    body = b"".join(pieces)
    cut, stop_end = find_stop(body, stop)
    begin, end = program_span(body[:cut], fence)
    edges = np.cumsum([0, *map(len, pieces)])
    text, to_char = _decode(head + body[begin:end])
    clipped = len(head) + np.clip(edges, begin, end) - begin
    starts, ends = to_char[clipped[:-1]], to_char[np.maximum(clipped[1:] - 1, 0)] + 1
    spans = np.stack([starts, np.where(clipped[1:] > clipped[:-1], ends, starts)], axis=1)
    # What stands before the block took no part, as little as what stands behind it.
    spans[edges[1:] <= begin if begin else []] = len(text)
    is_end = np.array([i == end_token for i in response], dtype=bool)
    if stop_end is not None:
        overlaps = (edges[1:] > cut) & (edges[:-1] < stop_end)
        is_end = is_end | (overlaps & (edges[1:] > edges[:-1]))
    return Program(
        text=text,
        token_spans=spans.astype(np.int64).reshape(len(pieces), 2),
        is_end=is_end,
        stopped=stop_end is not None,
    )


def find_stop(body: bytes, stop: Sequence[str]) -> tuple[int, int | None]:
    """First stop string in ``body``: where it begins and ends, or (length, None)."""
    found = [(body.find(s.encode()), len(s.encode())) for s in stop]
    places = [(at, at + size) for at, size in found if at >= 0]
    return min(places) if places else (len(body), None)


def _decode(data: bytes) -> tuple[str, np.ndarray]:
    """Text of the bytes, and for each byte (and the end) the code point it belongs to."""
    try:
        text = data.decode("utf-8")
        is_start = (np.frombuffer(data, np.uint8) & 0xC0) != 0x80
        to_char = np.cumsum(is_start) - 1
    except UnicodeDecodeError:
        pieces, to_char_list = _decode_leniently(data)
        text, to_char = pieces, np.array(to_char_list)
    return text, np.append(to_char, len(text)).astype(np.int64)


def _decode_leniently(data: bytes) -> tuple[str, list[int]]:
    """As ``_decode`` for bytes that are not UTF-8: each bad run becomes one U+FFFD."""
    text: list[str] = []
    to_char: list[int] = []
    at = 0
    while at < len(data):
        good = data[at:]
        bad = b""
        try:
            good.decode("utf-8")
        except UnicodeDecodeError as error:
            good, bad = good[: error.start], good[error.start : error.end]
        for character in good.decode("utf-8"):
            to_char += [len(text)] * len(character.encode())
            text.append(character)
        if bad:
            to_char += [len(text)] * len(bad)
            text.append("\ufffd")
        at += len(good) + len(bad)
    return "".join(text), to_char
