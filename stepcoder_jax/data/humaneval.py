"""HumanEval (Chen et al., arXiv 2107.03374): ``HumanEval.jsonl``, gzipped or not."""

import ast
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
    raw_problem,
    text_field,
)

SPLITS = ("test",)


def read_humaneval(split: str, files: Sequence[Path]) -> Iterator[Found]:
    """Yields the 164 problems."""
    assert split in SPLITS
    return parsed(read_rows(files[0]), _parse)


def _parse(row: Any, where: str) -> RawProblem:
    """One test: ``check(entry_point)``, so that no prompt can quote what is asserted.

    The functions that a prompt defines before the one that is asked for go into ``setup`` too:
    three of the checks call them, and an answer need not repeat them.
    """
    row = as_object(row, where)
    entry, prompt = text_field(row, where, "entry_point"), text_field(row, where, "prompt")
    if not entry.isidentifier():
        raise ProblemError(f"{where}: entry_point = {entry!r:.80}: must be a function's name")
    test = text_field(row, where, "test")
    if "def check(" not in test:
        raise ProblemError(f"{where}: test = {test!r:.80}: must define check(candidate)")
    solution = text_field(row, where, "canonical_solution", default="")
    task = text_field(row, where, "task_id")
    return raw_problem(
        {
            "id": task if task.startswith("HumanEval") else f"HumanEval/{task}",
            "question": f"Complete the function `{entry}`.",
            "difficulty": "introductory",
            "starter_code": prompt.rstrip(),
            "tests": {
                "assertions": [f"check({entry})"],
                "setup": tidy(f"{_given(prompt, entry)}\n{test}").lstrip("\n"),
            },
            "source": "humaneval",
        },
        [prompt + solution] if solution.strip() else [],
        where,
    )


def _given(prompt: str, entry: str) -> str:
    """What the prompt defines besides the function ``entry``, its last."""
    try:
        body = ast.parse(prompt).body
    except (SyntaxError, ValueError):
        return ""
    given = [node for node in body if not isinstance(node, ast.FunctionDef) or node.name != entry]
    return "\n".join(ast.unparse(node) for node in given)
