"""APPS+ (Dou et al., arXiv 2402.01391, the set StepCoder is trained on): its published JSON."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from stepcoder_jax.data.apps import argument_list, inner_json, solutions_of, tests_of
from stepcoder_jax.data.entry_function import EntryFunction, defined, entry_function, with_call
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
_IN, _OUT = ("inputs", "input"), ("outputs", "output")
_TESTS = ("input_output", "test_cases", "tests", "unit_tests")


def read_apps_plus(split: str | None, files: Sequence[Path]) -> Iterator[Found]:
    """Yields the problems of the published list; a row without an id is named by its place.

    Args:
      split: rows that name another one are passed over; None: all are taken.
    """
    for file in files:
        yield from parsed(read_rows(file), lambda row, where: _parse(row, where, split))


def _parse(row: Any, where: str, split: str | None) -> RawProblem | None:
    row = as_object(row, where)
    told = text_field(row, where, "split", default=SPLITS[0] if split is None else split)
    if told not in SPLITS:
        raise ProblemError(f"{where}: split = {told!r:.80}: must be one of {SPLITS}")
    if split is not None and told != split:
        return None
    number = first_of(row, *_IDS)
    number = where.rpartition(" ")[2] if number is None else number
    starter = text_field(row, where, "starter_code", default="")
    solutions, tests = _told_how_called(_solutions(row, where), _tests(row, where), starter, where)
    return raw_problem(
        {
            "id": f"apps_plus/{number}",
            "question": question_field(row, where, *_QUESTIONS),
            "difficulty": text_field(row, where, "difficulty", "level").lower(),
            "starter_code": starter,
            "tests": tests,
            "source": "apps_plus",
        },
        solutions,
        where,
    )


def _solutions(row: Mapping[str, Any], where: str) -> Sequence[str]:
    name = next((name for name in _SOLUTIONS if row.get(name) is not None), _SOLUTIONS[0])
    value = row.get(name) if name in _SOLUTIONS[:2] else inner_json(row, name, where)
    return solutions_of(value, where)


def _told_how_called(
    solutions: Sequence[str], tests: dict[str, Any], starter: str, where: str
) -> tuple[Sequence[str], dict[str, Any]]:
    """Solutions and tests of which it is clear whether they are of calls or of standard input.

    A published row mostly has a function without parameters that reads standard input, and leaves
    it to the judge to call it: here the program does.
    """
    asked, inputs = _asked(tests["fn_name"], starter, solutions), tests["inputs"]
    if asked is not None and not asked.takes_arguments and _is_text(inputs):
        called = [with_call(source, asked.name) for source in solutions]
        return called, {**tests, "fn_name": None}
    if asked is not None and _has_lists(inputs):
        tests = {**tests, "fn_name": asked.name}
    if not tests["fn_name"] or not isinstance(inputs, list):
        return solutions, tests
    if all(isinstance(entry, str) for entry in inputs):
        tests = {**tests, "outputs": _values(tests["outputs"])}
    return solutions, {**tests, "inputs": [arguments(value, where) for value in inputs]}


def _asked(name: Any, starter: str, solutions: Sequence[str]) -> EntryFunction | None:
    """The function that is asked for: the one named, or else the one that the starter code begins;
    None where nothing tells.
    """
    begun = entry_function(starter)
    if name is None or (begun is not None and begun.name == name):
        return begun
    if not isinstance(name, str):
        return None
    return next(filter(None, (defined(source, name) for source in solutions)), None)


def _is_text(inputs: Any) -> bool:
    """Whether every input is text or lines of text."""
    return isinstance(inputs, list) and all(
        isinstance(entry, str)
        or (isinstance(entry, list) and entry and all(isinstance(line, str) for line in entry))
        for entry in inputs
    )


def _has_lists(inputs: Any) -> bool:
    return isinstance(inputs, list) and any(isinstance(entry, list) for entry in inputs)


def _values(outputs: Any) -> Any:
    """What calls return, of JSON texts; as they are where one is no text or no JSON."""
    if not isinstance(outputs, list) or not all(isinstance(text, str) for text in outputs):
        return outputs
    try:
        return [decode_json(text) for text in outputs]
    except ValueError:
        return outputs


def _tests(row: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Tests of the row's own fields, or of one field that holds them all."""
    own = {name: inner_list(row, name, where) for name in (*_IN, *_OUT) if row.get(name)}
    if not own:
        own = _together(next((inner_json(row, n, where) for n in _TESTS if row.get(n)), None))
    return tests_of(
        {
            "inputs": first_of(own, *_IN),
            "outputs": first_of(own, *_OUT),
            "fn_name": first_of(row, *_FUNCTIONS) or first_of(own, *_FUNCTIONS),
        },
        where,
    )


def _together(tests: Any) -> dict[str, Any]:
    """Tests as lists of inputs and outputs, also where they are a list of one of each."""
    if isinstance(tests, list) and all(isinstance(case, Mapping) for case in tests):
        inputs, outputs = ([first_of(case, *names) for case in tests] for names in (_IN, _OUT))
        return {"inputs": inputs, "outputs": outputs}
    return dict(tests) if isinstance(tests, Mapping) else {}


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
