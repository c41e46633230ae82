"""Stop strings are found where they end, however the row comes in."""

import numpy as np
import pytest

from stepcoder_jax.program import TokenBytes, find_stop
from stepcoder_jax.sampling.stops import StopFinder

BYTES = TokenBytes(
    table=(b"", b"a", b"b", b"ab", b"ba", b"aab", "é".encode()[:1], "é".encode()[1:])
)


def whole_rows_answer(ids: list[int], stop: tuple[str, ...]) -> int | None:
    """How many tokens until a stop string is in the text: looked for from the start each time."""
    for n_tokens in range(1, len(ids) + 1):
        if find_stop(BYTES.join(ids[:n_tokens]), stop)[1] is not None:
            return n_tokens
    return None


@pytest.mark.parametrize("stop", [("bb",), ("aaa", "bab"), ("é",), ("a", "ab"), ("bbbbbbbb",)])
def test_a_row_in_pieces_is_the_whole_row(stop: tuple[str, ...]) -> None:
    rng = np.random.default_rng(0)
    n_found = 0
    for _ in range(200):
        ids = rng.integers(0, 8, 12).tolist()
        finder, found, at = StopFinder(BYTES, stop), False, 0
        while at < len(ids) and not found:
            size = int(rng.integers(1, 5))
            found = finder.feed(ids[at : at + size])
            at += size
        answer = finder.n_tokens if found else None
        assert answer == whole_rows_answer(ids, stop)
        n_found += found
    assert n_found > 0 or stop == ("bbbbbbbb",)


def test_without_stop_strings_nothing_stops() -> None:
    finder = StopFinder(BYTES, ())
    assert not finder.feed([1, 2, 3])
    assert finder.n_tokens == 3
