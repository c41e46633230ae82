"""What a child wrote about its tests. Every field is the program's word."""

import json
from typing import NamedTuple

_DECODER = json.JSONDecoder()
_MOST_CPU_S = 1e6


class Record(NamedTuple):
    """How one test ended inside.

    verdict: ``ran``, when what it produced is to be judged, or the name of a verdict.
    value: JSON text; stdout: where the output of this test begins and ends in what was printed.
    wall_s: seconds; is_last: whether the process takes no other test.
    cpu_s: CPU seconds; 0 where it was not told.
    """

    verdict: str
    detail: str
    value: str
    stdout: tuple[int, int]
    wall_s: float
    is_last: bool
    cpu_s: float = 0.0


def read_records(blob: bytes, most_wall_s: float, most: int) -> dict[int, Record]:
    """The first ``most`` records, by test; a program that spoils its own loses them.

    What may be 64 MiB of a program's making is not cut into lines, and its end, which may still be
    being written, is not taken for a record.
    """
    found: dict[int, Record] = {}
    start = 0
    for _ in range(most):
        middle = blob.find(b"\n", start)
        end = blob.find(b"\n", middle + 1)
        if not start <= middle < end:
            break
        try:
            head = blob[start:middle].decode("utf-8", "replace")
            k, verdict, detail, first, last, wall_s, is_last, *more = _DECODER.raw_decode(head)[0]
            found[int(k)] = Record(
                verdict=str(verdict),
                detail=str(detail),
                value=blob[middle + 1 : end].decode("utf-8", "replace"),
                stdout=(max(int(first), 0), max(int(last), 0)),
                # 0.0 comes first: it is what `max` gives for NaN.
                wall_s=min(max(0.0, float(wall_s)), most_wall_s),
                is_last=bool(is_last),
                cpu_s=min(max(0.0, float(more[0])), _MOST_CPU_S) if more else 0.0,
            )
        except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
            break
        start = end + 1
    return found
