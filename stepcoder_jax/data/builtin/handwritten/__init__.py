"""The hand-written problems: JSON lines in the format of a problem file, beside this module.

`train.jsonl` is for training; `heldout.jsonl` is the split `handwritten_heldout`.
"""

import json
from importlib import resources
from typing import Any

from stepcoder_executor import IoTests

from stepcoder_jax.problem import Problem

FILES = {"train": "train.jsonl", "handwritten_heldout": "heldout.jsonl"}


def handwritten_problems(split: str) -> list[Problem]:
    """List the hand-written problems of `split`, in file order; a split of families has none."""
    if split not in FILES:
        return []
    text = resources.files(__name__).joinpath(FILES[split]).read_text(encoding="utf-8")
    return [_problem(json.loads(line)) for line in text.splitlines()]


def _problem(row: dict[str, Any]) -> Problem:
    tests = row.pop("tests")
    inputs, outputs = tuple(tests["inputs"]), tuple(tests["outputs"])
    return Problem(**row, tests=IoTests(fn_name=tests["fn_name"], inputs=inputs, outputs=outputs))
