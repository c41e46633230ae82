"""Problem files, row by row."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from stepcoder_jax.data.json_rows import read_rows
from stepcoder_jax.data.problems import parse_problem
from stepcoder_jax.data.raw import Found, RawProblem, as_object, parsed, raw_problem


def read_jsonl(split: str, files: Sequence[Path]) -> Iterator[Found]:
    """Yields the problems of files in the form of DESIGN.md §7; the split has no meaning here."""
    del split
    for file in files:
        yield from parsed(read_rows(file), _parse)


def _parse(row: object, where: str) -> RawProblem:
    problem = parse_problem(as_object(row, where), where)
    solution = problem.canonical_solution
    return raw_problem(as_object(row, where), [] if solution is None else [solution], where)
