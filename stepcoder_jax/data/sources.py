"""The one place where a name in a config or on a command line becomes problems."""

import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from stepcoder_jax.data.builtin import builtin_problems
from stepcoder_jax.data.json_rows import Rejected
from stepcoder_jax.data.manual import MANUAL_SETS
from stepcoder_jax.data.problem_file import read_jsonl
from stepcoder_jax.data.problems import ProblemError
from stepcoder_jax.data.raw import Found, RawProblem, summary, unique
from stepcoder_jax.problem import DIFFICULTIES, Difficulty, Problem


@dataclass(frozen=True, kw_only=True)
class ProblemSet:
    """What a name stands for.

    Attributes:
      problems: in the order of their files.
      rejected: rows that are no problems, of all that was read.
    """

    problems: tuple[Problem, ...]
    rejected: tuple[Rejected, ...]


def load_problems(
    name: str,
    *,
    manual_dir: Path | None = None,
    data_dir: Path | None = None,
    count: int | None = None,
    seed: int = 0,
    difficulties: Sequence[Difficulty] = DIFFICULTIES,
) -> list[Problem]:
    """The problems of ``load_problem_set``; how many rows were left out is said on standard error.

    Raises:
      ProblemError: as ``load_problem_set``.
    """
    found = load_problem_set(
        name,
        manual_dir=manual_dir,
        data_dir=data_dir,
        count=count,
        seed=seed,
        difficulties=difficulties,
    )
    if found.rejected:
        print(f"{name}: {summary(found.rejected)}", file=sys.stderr)
    return list(found.problems)


def load_problem_set(
    name: str,
    *,
    manual_dir: Path | None = None,
    data_dir: Path | None = None,
    count: int | None = None,
    seed: int = 0,
    difficulties: Sequence[Difficulty] = DIFFICULTIES,
) -> ProblemSet:
    """Loads problems; a row that is none is reported and loses nothing else.

    Args:
      name: a problem file, or ``SET:SPLIT`` (docs/data.md), where SPLIT may be several joined with
        ``+``.
      manual_dir: where data sets that must be downloaded by hand lie.
      data_dir: where they are kept as ArrayRecord; None: in the user's cache.
      count: how many to take from the front; None: all.
      seed: of generated problems.
      difficulties: only problems of these levels.

    Raises:
      ProblemError: an unknown name, a file that is missing, or nothing in it that is a problem.
    """
    kind, _, splits = name.partition(":")
    if kind == "builtin":
        chosen = [p for s in splits.split("+") for p in _builtin(s, count, seed, difficulties)]
        return ProblemSet(problems=tuple(chosen[:count]), rejected=())
    if kind in MANUAL_SETS and not Path(name).is_file():
        found = _kept(kind, splits, manual_dir, data_dir)
    elif ":" in name and not Path(name).is_file():
        known = ", ".join(("builtin", *MANUAL_SETS))
        raise ProblemError(
            f"{name!r}: no such problem set; give a JSON-lines file, or SET:SPLIT with a set of"
            f" {known}"
        )
    else:
        found = _in_file(Path(name))
    return _select(name, unique(found), difficulties, count)


def _in_file(path: Path) -> Iterator[Found]:
    if path.is_dir():
        raise ProblemError(
            f"{path} is a folder; give a problem file, or SET:SPLIT of what lies in data.manual_dir"
        )
    if not path.is_file():
        raise ProblemError(f"problem file {path} does not exist")
    return read_jsonl("", [path])


def _kept(
    kind: str, splits: str, manual_dir: Path | None, data_dir: Path | None
) -> Iterator[Found]:
    # Importing tensorflow_datasets takes seconds, which nothing else needs.
    from stepcoder_jax.data.cache import prepared

    default = MANUAL_SETS[kind].splits[:1]
    for split in splits.split("+") if splits else default:
        kept = prepared(kind, split, manual_dir, data_dir)
        yield from kept.rejected
        yield from kept.problems()


def _select(
    name: str, found: Iterable[Found], difficulties: Sequence[Difficulty], count: int | None
) -> ProblemSet:
    problems: list[Problem] = []
    rejected: list[Rejected] = []
    is_empty = True
    for row in found:
        if isinstance(row, RawProblem):
            is_empty = False
            if row.problem.difficulty in difficulties and (count is None or len(problems) < count):
                problems.append(row.problem)
        else:
            rejected.append(row)
    if is_empty:
        told = f": {summary(rejected)}" if rejected else ""
        raise ProblemError(f"{name} holds no problem{told}")
    return ProblemSet(problems=tuple(problems), rejected=tuple(rejected))


def _builtin(
    split: str, count: int | None, seed: int, difficulties: Sequence[Difficulty]
) -> list[Problem]:
    try:
        return builtin_problems(split, count=count, seed=seed, difficulties=difficulties)
    except ValueError as error:
        raise ProblemError(str(error)) from error
