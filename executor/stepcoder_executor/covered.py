"""What a program's tests executed, instruction by instruction, from the word of its processes."""

from array import array

Span = tuple[int, int]


def executed_units(hits: bytes, n_tests: int) -> bytes:
    """A byte for each code unit: 1 if one of the tests 1 to ``n_tests`` was first to execute it.

    Args:
        hits: for each unit the number, from 1, of the first test that executed it, 16-bit.
        n_tests: how many tests count.
    """
    return bytes(0 < test <= n_tests for test in array("H", hits))


def either(some: bytes, others: bytes) -> bytes:
    """The units executed in one process or another of a program, of whatever length each says."""
    if len(some) < len(others):
        some, others = others, some
    merged = int.from_bytes(some, "little") | int.from_bytes(others, "little")
    return merged.to_bytes(len(some), "little")
