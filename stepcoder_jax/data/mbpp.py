"""MBPP (Austin et al., arXiv 2108.07732) in its original format, from files the user has."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stepcoder_executor import AssertionTests

from stepcoder_jax.data.problems import ProblemError, read_json_lines, tidy
from stepcoder_jax.problem import Problem

# Task ids of each split, both ends included, as the paper gives them.
SPLITS = {"prompt": (1, 10), "test": (11, 510), "validation": (511, 600), "train": (601, 974)}


def read_mbpp(split: str, manual_dir: Path | None) -> list[Problem]:
    """Reads a split from ``mbpp.jsonl`` or ``<split>.jsonl``, in ``manual_dir`` or its ``mbpp/``.

    Raises:
      ProblemError: an unknown split, no file (the message says which file to put where), or a row
        that is not MBPP's.
    """
    if split not in SPLITS:
        raise ProblemError(f"mbpp has no split {split!r}; there are {', '.join(SPLITS)}")
    path = _find(split, manual_dir)
    first, last = SPLITS[split]
    rows = [_parse(row, where) for where, row in read_json_lines(path)]
    found = [problem for task, problem in rows if first <= task <= last]
    if not found:
        raise ProblemError(f"{path} holds no task of mbpp's {split} split ({first} to {last})")
    return found


def _find(split: str, manual_dir: Path | None) -> Path:
    if manual_dir is None:
        raise ProblemError(
            f"mbpp:{split} needs data.manual_dir: a folder with mbpp.jsonl (974 rows, from the"
            f" google-research repository, folder mbpp) or {split}.jsonl"
        )
    names = [f"{split}.jsonl", "mbpp.jsonl"]
    places = [manual_dir / sub / name for sub in ("", "mbpp") for name in names]
    for path in places:
        if path.is_file():
            return path
    raise ProblemError(f"mbpp:{split}: none of {', '.join(map(str, places))} exists")


def _parse(row: Any, where: str) -> tuple[int, Problem]:
    wanted = {"task_id": int, "text": str, "code": str, "test_list": list, "test_setup_code": str}
    for name, kind in wanted.items():
        if not isinstance(row, Mapping) or not isinstance(row.get(name), kind):
            raise ProblemError(f"{where}: not a row of MBPP: {name} must be a {kind.__name__}")
    return row["task_id"], Problem(
        id=f"mbpp/{row['task_id']}",
        question=row["text"],
        difficulty="introductory",
        starter_code="",
        canonical_solution=tidy(row["code"]),
        tests=AssertionTests(
            assertions=tuple(tidy(test) for test in row["test_list"]),
            setup=tidy(row["test_setup_code"]),
        ),
        source="mbpp",
    )
