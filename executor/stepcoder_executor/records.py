"""What a child wrote about its tests. Every field is the program's word."""

import json
from typing import NamedTuple

_DECODER = json.JSONDecoder()


class Record(NamedTuple):
    """How one test ended inside.

    verdict: ``ran``, when what it produced is to be judged, or the name of a verdict.
    value: JSON text; stdout: where the output of this test begins and ends in what was printed.
    wall_s: seconds; is_last: whether the process takes no other test.
    """

    verdict: str
    detail: str
    value: str
    stdout: tuple[int, int]
    wall_s: float
    is_last: bool


def read_records(blob: bytes, most_wall_s: float) -> dict[int, Record]:
    """The records that make sense, by test; a program that spoils its own loses them."""
    lines = blob.decode("utf-8", "replace").split("\n")
    found = {}
    for head, value in zip(lines[0::2], lines[1::2], strict=False):
        try:
            k, verdict, detail, start, end, wall_s, is_last = _DECODER.raw_decode(head)[0]
            found[int(k)] = Record(
                verdict=str(verdict),
                detail=str(detail),
                value=value,
                stdout=(max(int(start), 0), max(int(end), 0)),
                wall_s=min(max(float(wall_s), 0.0), most_wall_s),
                is_last=bool(is_last),
            )
        except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
            break
    return found
