"""A rollout's program cut into pieces that say what the tests executed."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from stepcoder_jax.report.run_log import Row, number

# A program may print as something other than it is: control characters and changes of direction.
_INVISIBLE = {
    **{code: 0x2400 + code for code in range(32) if code not in (9, 10)},
    **dict.fromkeys((*range(0x7F, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A)), 0xFFFD),
    **dict.fromkeys((*range(0xD800, 0xE000), 0xFFFE, 0xFFFF), 0xFFFD),
}


@dataclass(frozen=True, kw_only=True)
class Piece:
    """Consecutive characters of one kind: `prefix`, `executed`, `idle` or `blank`."""

    kind: str
    text: str


@dataclass(frozen=True, kw_only=True)
class ShownRollout:
    """A rollout as the page shows it; texts are as the run wrote them, not yet escaped."""

    problem_id: str
    question: str
    verdict: str
    reward: float | None
    stage: float | None
    pieces: tuple[Piece, ...]


def shown_rollout(sample: Row) -> ShownRollout:
    """A line of samples.jsonl; a field that is missing is empty."""
    return ShownRollout(
        problem_id=str(sample.get("problem_id", "")),
        question=str(sample.get("question", "")).strip(),
        verdict=str(sample.get("verdict", "unknown")),
        reward=number(sample, "reward"),
        stage=number(sample, "stage"),
        pieces=tuple(pieces(sample)),
    )


def visible(text: str) -> str:
    """`text` with every character that HTML cannot hold, or that hides others, made visible."""
    return text.translate(_INVISIBLE)


def pieces(sample: Row) -> list[Piece]:
    """Cuts prefix + response at every change of kind, in order; nothing is lost.

    Args:
      sample: `prefix` and `response` texts; `executed` half-open spans of code points of the two
        together. Spans that are malformed or reach outside count as far as they make sense.
    """
    prefix, response = str(sample.get("prefix") or ""), str(sample.get("response") or "")
    source = prefix + response
    spans = _spans(sample.get("executed"), len(source))
    cuts = {0, len(prefix), len(source), *(edge for span in spans for edge in span)}
    found = []
    for start, end in pairwise(sorted(cuts)):
        text = source[start:end]
        found.append(Piece(kind=_kind(start, text, len(prefix), spans), text=text))
    return found


def _kind(start: int, text: str, prefix_length: int, spans: Sequence[tuple[int, int]]) -> str:
    if start < prefix_length:
        return "prefix"
    if any(low <= start < high for low, high in spans):
        return "executed"
    return "blank" if text.isspace() else "idle"


def _spans(found: Any, length: int) -> list[tuple[int, int]]:
    pairs = found if isinstance(found, list) else []
    whole = [p for p in pairs if isinstance(p, list) and [type(e) for e in p] == [int, int]]
    clipped = [(max(low, 0), min(high, length)) for low, high in whole]
    return [(low, high) for low, high in clipped if low < high]
