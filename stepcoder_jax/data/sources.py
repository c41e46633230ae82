"""The one place where a name in a config or on a command line becomes problems."""

from collections.abc import Sequence
from pathlib import Path

from stepcoder_jax.data.builtin import builtin_problems
from stepcoder_jax.data.mbpp import read_mbpp
from stepcoder_jax.data.problems import ProblemError, read_problem_file
from stepcoder_jax.problem import DIFFICULTIES, Difficulty, Problem


def load_problems(
    name: str,
    *,
    manual_dir: Path | None = None,
    count: int | None = None,
    seed: int = 0,
    difficulties: Sequence[Difficulty] = DIFFICULTIES,
) -> list[Problem]:
    """Loads problems.

    Args:
      name: a problem file, or ``builtin:SPLIT`` or ``mbpp:SPLIT``, where SPLIT may be several
        joined with ``+``.
      manual_dir: where data sets that must be downloaded by hand lie.
      count: how many to take from the front; None: all.
      seed: of generated problems.
      difficulties: only problems of these levels.

    Raises:
      ProblemError: an unknown name, or whatever is wrong with the file.
    """
    kind, colon, splits = name.partition(":")
    if not colon:
        problems = read_problem_file(Path(name))
    elif kind == "builtin":
        problems = [p for s in splits.split("+") for p in _builtin(s, count, seed, difficulties)]
    elif kind == "mbpp":
        problems = [p for s in splits.split("+") for p in read_mbpp(s, manual_dir)]
    else:
        raise ProblemError(
            f"{name!r}: no such problem set; give a JSON-lines file, builtin:SPLIT or mbpp:SPLIT"
        )
    return [p for p in problems if p.difficulty in difficulties][:count]


def _builtin(
    split: str, count: int | None, seed: int, difficulties: Sequence[Difficulty]
) -> list[Problem]:
    try:
        return builtin_problems(split, count=count, seed=seed, difficulties=difficulties)
    except ValueError as error:
        raise ProblemError(str(error)) from error
