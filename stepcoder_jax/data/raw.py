"""What a reader of a data set yields: a problem with all its solutions, or a row that is none."""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stepcoder_jax.data.json_rows import Rejected, Row
from stepcoder_jax.data.problems import ProblemError, parse_problem, problem_to_json, tidy
from stepcoder_jax.problem import Problem


@dataclass(frozen=True, kw_only=True)
class RawProblem:
    """A problem as its data set gives it.

    Attributes:
      problem: with the first solution as its canonical one.
      solutions: every reference solution, in the data set's order; may be empty.
      where: file and line, row or folder, for messages.
    """

    problem: Problem
    solutions: tuple[str, ...]
    where: str


Found = RawProblem | Rejected


def parsed(
    rows: Iterable[Row | Rejected], parse: Callable[[Any, str], RawProblem | None]
) -> Iterator[Found]:
    """Parses row after row; one that is refused becomes a ``Rejected`` and the reading goes on.

    Args:
      parse: makes a problem of (value, where); None: a row of another split; raises ProblemError.
    """
    for row in rows:
        if isinstance(row, Rejected):
            yield row
            continue
        try:
            found = parse(row.value, row.where)
        except ProblemError as error:
            yield Rejected(where=row.where, reason=str(error).removeprefix(f"{row.where}: "))
        else:
            if found is not None:
                yield found


def unique(rows: Iterable[Found]) -> Iterator[Found]:
    """The same rows, but of several with one id only the first; the others are rejected."""
    first: dict[str, str] = {}
    for row in rows:
        if isinstance(row, RawProblem):
            known = first.setdefault(row.problem.id, row.where)
            if known != row.where:
                reason = f"id comes twice: {row.problem.id!r:.80}, first in {known}"
                yield Rejected(where=row.where, reason=reason)
                continue
        yield row


def raw_problem(fields: Mapping[str, Any], solutions: Sequence[str], where: str) -> RawProblem:
    """Checks a problem in the form of DESIGN.md §7, without ``canonical_solution``.

    Args:
      fields: of the problem file's row.
      solutions: every reference solution; the first that is not blank becomes the canonical one.

    Raises:
      ProblemError: a field is missing, of the wrong type, or text that UTF-8 cannot hold.
    """
    told = [tidy(solution) for solution in solutions if solution.strip()]
    problem = parse_problem({**fields, "canonical_solution": told[0] if told else None}, where)
    try:
        json.dumps((problem_to_json(problem), told), ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        message = f"{where}: not text: a lone surrogate, which UTF-8 cannot hold"
        raise ProblemError(message) from error
    return RawProblem(problem=problem, solutions=tuple(told), where=where)


def text_field(row: Mapping[str, Any], where: str, *names: str, default: str | None = None) -> str:
    """The text under the first of ``names`` that the row has and that is not null.

    Raises:
      ProblemError: it is no text, or there is none and no ``default``.
    """
    value = first_of(row, *names)
    if value is None and default is not None:
        return default
    if not isinstance(value, str):
        raise ProblemError(f"{where}: {' or '.join(names)} = {value!r:.80}: must be a string")
    return value


def question_field(row: Mapping[str, Any], where: str, *names: str) -> str:
    """A published data set's requirement: text that says something.

    Raises:
      ProblemError: there is none.
    """
    question = text_field(row, where, *names)
    if not question.strip():
        raise ProblemError(f"{where}: question is blank")
    return question


def first_of(row: Mapping[str, Any], *names: str) -> Any:
    """The value under the first of ``names`` that the row has and that is not null, or None."""
    return next((row[name] for name in names if row.get(name) is not None), None)


def as_object(row: Any, where: str) -> Mapping[str, Any]:
    """The row itself.

    Raises:
      ProblemError: it is not a JSON object.
    """
    if not isinstance(row, Mapping):
        raise ProblemError(f"{where}: not a JSON object: a {type(row).__name__}")
    return row


def summary(rejected: Sequence[Rejected], shown: int = 3) -> str:
    """How many rows were left out, the first of them, and counts of reasons."""
    lines = [f"  {row.where}: {row.reason}" for row in rejected[:shown]]
    counts = ", ".join(f"{reason} ({n})" for reason, n in count_reasons(rejected).items())
    return "\n".join([f"{len(rejected)} rows left out: {counts}", *lines])


def count_reasons(rejected: Sequence[Rejected]) -> dict[str, int]:
    """Reason, without its details -> how many rows."""
    kinds = (re.split(r" = |: ", row.reason, maxsplit=1)[0] for row in rejected)
    return dict(Counter(kinds).most_common())
