"""APPS+ (Dou et al., arXiv 2402.01391, the set StepCoder is trained on): its published JSON."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from stepcoder_jax.data.apps import argument_list, inner_json, solutions_of, tests_of
from stepcoder_jax.data.json_rows import decode_json, read_rows
from stepcoder_jax.data.problems import ProblemError
from stepcoder_jax.data.raw import (
    Found,
    RawProblem,
    as_object,
    first_of,
    parsed,
    question_field,
    raw_problem,
    text_field,
)

SPLITS = ("train", "test")
_IDS = ("id", "problem_id", "task_id", "question_id", "name", "idx", "index")
_QUESTIONS = ("question", "prompt", "problem", "description")
_SOLUTIONS = ("canonical_solution", "solution", "canonical_solutions", "solutions")
_FUNCTIONS = ("fn_name", "function_name", "func_name", "method_name", "entry_point")
_TESTS = ("input_output", "test_cases", "tests", "unit_tests")


def read_apps_plus(split: str, files: Sequence[Path]) -> Iterator[Found]:
    """Yields the problems of the published list; a row without an id is named by its place."""
    for file in files:
        yield from parsed(read_rows(file), lambda row, where: _parse(row, where, split))


def _parse(row: Any, where: str, split: str) -> RawProblem | None:
    row = as_object(row, where)
    if row.get("split", split) != split:
        return None
    number = first_of(row, *_IDS)
    number = where.rpartition(" ")[2] if number is None else number
    name = next((name for name in _SOLUTIONS if row.get(name) is not None), _SOLUTIONS[0])
    solutions = row.get(name) if name in _SOLUTIONS[:2] else inner_json(row, name, where)
    return raw_problem(
        {
            "id": f"apps_plus/{number}",
            "question": question_field(row, where, *_QUESTIONS),
            "difficulty": text_field(row, where, "difficulty", "level").lower(),
            "starter_code": text_field(row, where, "starter_code", default=""),
            "tests": _tests(row, where),
            "source": "apps_plus",
        },
        solutions_of(solutions, where),
        where,
    )


def _tests(row: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Tests of the row's own fields, or of one field that holds them all."""
    own = {name: inner_list(row, name, where) for name in ("inputs", "outputs") if name in row}
    if not own:
        found = next((inner_json(row, name, where) for name in _TESTS if row.get(name)), None)
        own = dict(found) if isinstance(found, Mapping) else {}
    own["fn_name"] = first_of(row, *_FUNCTIONS) or first_of(own, *_FUNCTIONS)
    tests = tests_of(own, where)
    if tests["fn_name"] and isinstance(tests["inputs"], list):
        tests["inputs"] = [arguments(value, where) for value in tests["inputs"]]
    return tests


def inner_list(row: Mapping[str, Any], name: str, where: str) -> Any:
    """A list of tests, which may be written as JSON inside a string."""
    value = row[name]
    is_json = isinstance(value, str) and value.lstrip().startswith("[")
    return inner_json(row, name, where) if is_json else value


def arguments(value: Any, where: str) -> Any:
    """A call's arguments; where they are text, a JSON value a line.

    Raises:
      ProblemError: a line is not JSON.
    """
    if not isinstance(value, str):
        return argument_list(value)
    try:
        return [decode_json(line) for line in value.splitlines() if line.strip()]
    except ValueError as error:
        raise ProblemError(f"{where}: arguments of a call are {error}") from error
