"""Whether what a program produced is what was expected. Runs outside the sandbox only.

``strict`` is the rule for training. ``apps`` reproduces the lenient one of hendrycks/apps, for
comparing published numbers: there a permuted set of lines, lost duplicates, the first element of a
longer list and 10**17 + 1 for 10**17 all pass.
"""

import json
import math
import re
from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
from typing import Any, Literal

from stepcoder_executor.fields import shorten

CompareRule = Literal["strict", "apps"]

_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_ABSOLUTE, _RELATIVE = 1e-8, 1e-5
_FREE_BYTES = 64 * 1024


def text_of(entry: str | Sequence[str]) -> str:
    """A stdin or stdout entry as text: a sequence is lines."""
    return entry if isinstance(entry, str) else "\n".join(entry) + "\n"


def too_long(size: int, expected_size: int) -> bool:
    """Whether an output is so long that it is wrong without being read."""
    return size > 4 * expected_size + _FREE_BYTES


def judge_stdout(output: bytes, expected: str, rule: CompareRule) -> str | None:
    """None if ``output`` is as ``expected``, else what differs."""
    if too_long(len(output), len(expected.encode("utf-8", "surrogatepass"))):
        return f"printed {len(output)} bytes, far more than was expected"
    got = output.decode("utf-8", "surrogateescape")
    is_same = _same_text(got, expected) if rule == "strict" else _apps_text(got, expected)
    return None if is_same else _difference(got, expected)


def judge_value(value_json: str, expected: Any, rule: CompareRule) -> str | None:
    """None if the returned value, as JSON text, is as ``expected``, else what differs."""
    if len(value_json) > _FREE_BYTES and too_long(len(value_json), len(json.dumps(expected))):
        return f"returned {len(value_json)} characters, far more than was expected"
    try:
        got = _DECODER.decode(value_json)
        is_same = same_value(got, expected) if rule == "strict" else _apps_value(got, expected)
    except (ValueError, RecursionError) as error:
        return f"returned a value that cannot be compared: {error}"
    return None if is_same else _difference(got, expected)


def same_value(got: Any, expected: Any) -> bool:
    """Whether two JSON values agree; a one-element expected list also accepts its element bare."""
    if _same(got, expected):
        return True
    return isinstance(expected, list) and len(expected) == 1 and _same(got, expected[0])


def same_token(got: str, expected: str) -> bool:
    """Whether two tokens agree: as text, as decimals, or nearly when a fraction was expected."""
    if got == expected:
        return True
    if not (_NUMBER.fullmatch(got) and _NUMBER.fullmatch(expected)):
        return False
    try:
        if Decimal(got) == Decimal(expected):
            return True
    except InvalidOperation:
        return False
    return not expected.lstrip("+-").isdigit() and _is_near(float(got), float(expected))


def _same(got: Any, expected: Any) -> bool:
    match expected:
        case None | bool() | str():
            return type(got) is type(expected) and got == expected
        case int() | float():
            return _same_number(got, expected)
        case list() | tuple():
            return (
                isinstance(got, list)
                and len(got) == len(expected)
                and all(map(_same, got, expected))
            )
        case dict():
            return (
                isinstance(got, dict)
                and got.keys() == expected.keys()
                and all(_same(got[key], item) for key, item in expected.items())
            )
    return False


def _same_number(got: Any, expected: int | float) -> bool:
    if isinstance(got, bool) or not isinstance(got, int | float):
        return False
    if got == expected:
        return True
    return isinstance(expected, float) and _is_near(got, expected)


def _is_near(got: int | float, expected: float) -> bool:
    try:
        gap = abs(got - expected)
    except OverflowError:
        return False
    return math.isfinite(expected) and gap <= _ABSOLUTE + _RELATIVE * abs(expected)


def _same_text(got: str, expected: str) -> bool:
    if got == expected:
        return True
    got_lines, expected_lines = _lines(got), _lines(expected)
    if len(got_lines) != len(expected_lines):
        return False
    return all(map(_same_line, got_lines, expected_lines))


def _same_line(got: str, expected: str) -> bool:
    if got == expected:
        return True
    got_tokens, expected_tokens = got.split(), expected.split()
    return len(got_tokens) == len(expected_tokens) and all(
        map(same_token, got_tokens, expected_tokens)
    )


def _lines(text: str) -> list[str]:
    lines = text.split("\n")
    while lines and not lines[-1].strip():
        lines.pop()
    start = 0
    while start < len(lines) and not lines[start].strip():
        start += 1
    return lines[start:]


def _apps_value(got: Any, expected: Any) -> bool:
    if got == expected:
        return True
    return isinstance(expected, list) and bool(expected) and got == expected[0]


def _apps_text(got: str, expected: str) -> bool:
    got_lines = [line.strip() for line in got.split("\n") if line.strip()]
    expected_lines = [line.strip() for line in expected.split("\n") if line.strip()]
    if got_lines == expected_lines:
        return True
    got_sets, expected_sets = _token_sets(got_lines), _token_sets(expected_lines)
    if got_sets == expected_sets:
        return True
    try:
        if _apps_close(got_lines, expected_lines):
            return True
        return _rounded(got_sets) == _rounded(expected_sets)
    except (ValueError, OverflowError):
        return False


def _apps_close(got: list[str], expected: list[str]) -> bool:
    if len(got) != len(expected):
        return False
    return all(_is_near(float(a), float(b)) for a, b in zip(got, expected, strict=True))


def _token_sets(lines: list[str]) -> set[frozenset[str]]:
    return {frozenset(line.split()) for line in lines}


def _rounded(sets: set[frozenset[str]]) -> set[frozenset[float]]:
    return {frozenset(round(float(token), 3) for token in line) for line in sets}


def _distinct_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise ValueError("two keys of a dict are the same in JSON")
    return fields


_DECODER = json.JSONDecoder(object_pairs_hook=_distinct_keys)


def _difference(got: Any, expected: Any) -> str:
    return f"expected {shorten(expected)}, got {shorten(got)}"
