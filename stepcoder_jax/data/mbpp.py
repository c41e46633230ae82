"""MBPP (Austin et al., arXiv 2108.07732): the original JSON lines, and the sanitized list."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from stepcoder_jax.data.json_rows import read_rows
from stepcoder_jax.data.problems import ProblemError, tidy
from stepcoder_jax.data.raw import (
    Found,
    RawProblem,
    as_object,
    parsed,
    question_field,
    raw_problem,
    text_field,
)

# Task ids of each split, both ends included, as the paper gives them.
SPLITS = {"prompt": (1, 10), "test": (11, 510), "validation": (511, 600), "train": (601, 974)}


def read_mbpp(split: str | None, files: Sequence[Path]) -> Iterator[Found]:
    """Yields the tasks of a split, rows of others passed over; of all splits where it is None."""
    return parsed(read_rows(files[0]), lambda row, where: _parse(row, where, split, "mbpp"))


def read_sanitized(split: str | None, files: Sequence[Path]) -> Iterator[Found]:
    """The same of the sanitized list, with its wording and tests."""
    name = "mbpp_sanitized"
    return parsed(read_rows(files[0]), lambda row, where: _parse(row, where, split, name))


def _parse(row: Any, where: str, split: str | None, name: str) -> RawProblem | None:
    row = as_object(row, where)
    task = row.get("task_id")
    if not isinstance(task, int) or isinstance(task, bool) or not 1 <= task <= 974:
        raise ProblemError(f"{where}: task_id = {task!r:.80}: must be a number from 1 to 974")
    if split is not None and not SPLITS[split][0] <= task <= SPLITS[split][1]:
        return None
    assertions = _texts(row.get("test_list"), "test_list", where)
    imports = _texts(row.get("test_imports", []), "test_imports", where)
    setup = text_field(row, where, "test_setup_code", default="")
    return raw_problem(
        {
            "id": f"{name}/{task}",
            "question": question_field(row, where, "text", "prompt"),
            "difficulty": "introductory",
            "starter_code": "",
            "tests": {
                "assertions": [tidy(text) for text in assertions if text.strip()],
                "setup": tidy("\n".join([*imports, setup])),
            },
            "source": name,
        },
        [text_field(row, where, "code")],
        where,
    )


def _texts(value: Any, name: str, where: str) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise ProblemError(f"{where}: {name} = {value!r:.80}: must be a list of strings")
    return value
