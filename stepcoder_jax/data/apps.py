"""APPS (Hendrycks et al., arXiv 2105.09938): the original folders, or rows of their content."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from stepcoder_jax.data.json_rows import Rejected, Row, decode_json, read_rows
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
_TEXTS = {"question": "question.txt", "starter_code": "starter_code.py"}
_JSON = {"input_output": "input_output.json", "solutions": "solutions.json"}
_METADATA = "metadata.json"
FILES = (*_TEXTS.values(), *_JSON.values(), _METADATA)


def read_apps(split: str, files: Sequence[Path]) -> Iterator[Found]:
    """Yields a split's problems, from the files of its folders or from one file of rows."""
    rows = _folders(_beside(files)) if files[0].name in FILES else read_rows(files[0])
    return parsed(rows, lambda row, where: _parse(row, where, split))


def _beside(files: Iterable[Path]) -> list[Path]:
    """The folders of the files and those beside them: one that has no file lacks its question."""
    parents = {file.parent.parent for file in files}
    return sorted(
        folder
        for parent in parents
        for folder in parent.iterdir()
        if folder.is_dir() and not folder.name.startswith(".")
    )


def _folders(folders: Sequence[Path]) -> Iterator[Row | Rejected]:
    for folder in folders:
        try:
            yield Row(where=str(folder), value=_folder_row(folder))
        except ValueError as error:
            yield Rejected(where=str(folder), reason=str(error))


def _folder_row(folder: Path) -> dict[str, Any]:
    row: dict[str, Any] = {"id": folder.name}
    for name, file in _TEXTS.items():
        if (folder / file).is_file():
            row[name] = _text(folder / file)
    for name, file in _JSON.items():
        if (folder / file).is_file():
            row[name] = _json(folder / file)
    if (folder / _METADATA).is_file():
        row |= {
            k: v
            for k, v in as_object(_json(folder / _METADATA), _METADATA).items()
            if k == "difficulty"
        }
    return row


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path.name} is not UTF-8: byte at {error.start}") from error


def _json(path: Path) -> Any:
    try:
        return decode_json(_text(path))
    except ValueError as error:
        reason = str(error)
        raise ValueError(reason if path.name in reason else f"{path.name} is {reason}") from error


def _parse(row: Any, where: str, split: str) -> RawProblem:
    row = as_object(row, where)
    number = first_of(row, "problem_id", "id")
    if not isinstance(number, int | str) or isinstance(number, bool):
        raise ProblemError(f"{where}: problem_id = {number!r:.80}: must be a number or a name")
    tests = tests_of(inner_json(row, "input_output", where), where)
    if tests["fn_name"] and isinstance(tests["inputs"], list):
        tests["inputs"] = [argument_list(value) for value in tests["inputs"]]
    return raw_problem(
        {
            "id": f"apps/{split}/{str(number).zfill(4)}",
            "question": question_field(row, where, "question"),
            "difficulty": text_field(row, where, "difficulty"),
            "starter_code": text_field(row, where, "starter_code", default=""),
            "tests": tests,
            "source": "apps",
        },
        solutions_of(inner_json(row, "solutions", where), where),
        where,
    )


def inner_json(row: Mapping[str, Any], name: str, where: str) -> Any:
    """A field's value; where it is JSON inside a string, what that says; None if there is none.

    Raises:
      ProblemError: the string is not JSON.
    """
    value = row.get(name)
    if not isinstance(value, str):
        return value
    if not value.strip():
        return None
    try:
        return decode_json(value)
    except ValueError as error:
        raise ProblemError(f"{where}: {name} is {error}") from error


def tests_of(fields: Any, where: str) -> dict[str, Any]:
    """Tests in the form of DESIGN.md §7 from APPS' ``input_output``.

    Raises:
      ProblemError: there are none.
    """
    if not isinstance(fields, Mapping) or not fields.get("inputs") or not fields.get("outputs"):
        raise ProblemError(f"{where}: no tests: there must be inputs and outputs, at least one")
    return {
        "fn_name": fields.get("fn_name") or None,
        "inputs": fields["inputs"],
        "outputs": fields["outputs"],
    }


def argument_list(value: Any) -> list[Any]:
    """A call's arguments: what is no list can only be the one argument there is."""
    return value if isinstance(value, list) else [value]


def solutions_of(value: Any, where: str) -> Sequence[str]:
    """A row's solutions: a list of programs, one program, or None.

    Raises:
      ProblemError: something else.
    """
    programs = [value] if isinstance(value, str) else [] if value is None else value
    if not isinstance(programs, list) or not all(isinstance(p, str) for p in programs):
        raise ProblemError(f"{where}: solutions = {value!r:.80}: must be a list of programs")
    return programs
