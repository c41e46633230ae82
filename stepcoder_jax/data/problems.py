"""Rows of problem files (DESIGN.md §7), read strictly and written."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stepcoder_executor import ProtocolError, parse_tests, tests_to_json

from stepcoder_jax.problem import DIFFICULTIES, Problem

FIELDS = ("id", "question", "difficulty", "starter_code", "canonical_solution", "tests", "source")


class ProblemError(ValueError):
    """A problem cannot be used; the message names the place, the field and the value."""


def parse_problem(row: Any, where: str) -> Problem:
    """Checks one row and makes the record.

    Args:
      row: a parsed line.
      where: named in errors.

    Raises:
      ProblemError: a field is missing, unknown, or of the wrong type.
    """
    if not isinstance(row, Mapping):
        raise ProblemError(f"{where}: a problem is a JSON object, not {type(row).__name__}")
    unknown = [name for name in row if name not in FIELDS]
    missing = [name for name in FIELDS if name not in row]
    if unknown or missing:
        raise ProblemError(
            f"{where}: fields: missing {missing}, unknown {unknown!s:.200}; a problem has {FIELDS}"
        )
    for name in ("id", "question", "starter_code", "source"):
        _require(isinstance(row[name], str), where, name, row[name], "a string")
    _require(bool(row["id"]), where, "id", row["id"], "not empty")
    _require(
        row["difficulty"] in DIFFICULTIES,
        where,
        "difficulty",
        row["difficulty"],
        f"one of {DIFFICULTIES}",
    )
    solution = row["canonical_solution"]
    _require(
        solution is None or isinstance(solution, str),
        where,
        "canonical_solution",
        solution,
        "a string or null",
    )
    try:
        tests = parse_tests(row["tests"])
    except ProtocolError as error:
        raise ProblemError(f"{where}: tests: {error}") from error
    return Problem(
        id=row["id"],
        question=row["question"],
        difficulty=row["difficulty"],
        starter_code=row["starter_code"],
        canonical_solution=None if solution is None else tidy(solution),
        tests=tests,
        source=row["source"],
    )


def tidy(source: str) -> str:
    """A program with plain line ends and nothing behind its last character."""
    return source.replace("\r\n", "\n").replace("\r", "\n").rstrip()


def write_problem_file(path: Path, problems: Sequence[Problem]) -> None:
    """Writes problems as a problem file."""
    with path.open("w", encoding="utf-8") as out:
        for problem in problems:
            out.write(json.dumps(problem_to_json(problem), ensure_ascii=False) + "\n")


def problem_to_json(problem: Problem) -> dict[str, Any]:
    """One row of a problem file."""
    row = {name: getattr(problem, name) for name in FIELDS}
    return {**row, "tests": tests_to_json(problem.tests)}


def _require(ok: bool, where: str, name: str, value: object, allowed: str) -> None:
    if not ok:
        raise ProblemError(f"{where}: {name} = {value!r:.80}: must be {allowed}")
