"""Covered characters, from what a slot reports. All of it is a program's word, so it is clipped."""

from array import array
from collections.abc import Iterable, Iterator
from itertools import pairwise

Span = tuple[int, int]


def covered_spans(
    starts: bytes, owners: bytes, hits: bytes, *, n_chars: int, n_tests: int, shift: int = 0
) -> Iterator[Span]:
    """Half-open spans whose owner was first executed by one of the tests that count.

    Args:
        starts: where each segment begins, 32-bit, ascending.
        owners: the owner of each segment, 32-bit.
        hits: for each owner the number, from 1, of the first test that executed it, 16-bit.
        n_chars: the length of the source.
        n_tests: the tests 1 to this number count.
        shift: the length of what the source begins with and was compiled without; it goes with
            what follows.
    """
    first_test = array("H", hits)
    bounds = [*array("I", starts), n_chars - shift]
    for (start, end), owner in zip(pairwise(bounds), array("I", owners), strict=True):
        in_range = 0 <= start < end <= n_chars - shift and owner < len(first_test)
        if in_range and 0 < first_test[owner] <= n_tests:
            yield start and start + shift, end + shift


def merge(spans: Iterable[Span]) -> tuple[Span, ...]:
    """The union of spans: sorted, disjoint, touching ones joined."""
    merged: list[Span] = []
    for start, end in sorted(spans):
        if merged and start <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(end, merged[-1][1])
        else:
            merged.append((start, end))
    return tuple(merged)
