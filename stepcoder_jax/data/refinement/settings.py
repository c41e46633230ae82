"""What a build is told: all of it decides what comes out, and none of it may change half-way."""

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stepcoder_jax.config import ConfigError, ExecutorSettings

# Raised whenever the code may come to think otherwise of a row that it has settled.
RULES = 1


@dataclass(frozen=True, kw_only=True)
class BuildSettings:
    """What to make of which rows.

    Attributes:
      problems: name of the set, as everywhere, or a file or folder in the form of one.
      out: folder that the results and the journal lie in.
      manual_dir: where data sets that the user has lie.
      count: how many rows to take from the front; None: all.
      runs: how often each solution is run against its tests before it is believed.
      solutions: how many of a problem's solutions are tried; None: all.
      tests: how many tests a problem is to have; 0: none are made.
      agree: how many different solutions must give the same output before it becomes a test.
      against: benchmarks that the rows must not overlap, by name.
      ngram: words in a row that two texts must share to overlap there.
      overlap: share of a benchmark problem's n-grams from which a row counts as contaminated.
      near: similarity of two texts, as Jaccard's of their word 5-grams, from which they are near.
      seed: of the inputs that are made.
      cpu_s: CPU seconds of a test; of the wall clock three times as many, as programs share the
        machine with each other.
      executor: where programs run, how many at a time, and what else a test may use.

    Raises:
      ConfigError: a number that makes no sense.
    """

    problems: str
    out: Path
    manual_dir: Path | None = None
    count: int | None = None
    runs: int = 3
    solutions: int | None = None
    tests: int = 15
    agree: int = 2
    against: tuple[str, ...] = ()
    ngram: int = 10
    overlap: float = 0.5
    near: float = 0.8
    seed: int = 0
    cpu_s: float = 3.0
    executor: ExecutorSettings = field(default_factory=ExecutorSettings)

    def __post_init__(self) -> None:
        for flag, value, is_fit, allowed in (
            ("overlap", self.overlap, 0 < self.overlap <= 1, "a share, above 0 and at most 1"),
            ("near", self.near, 0 < self.near <= 1, "a share, above 0 and at most 1"),
            ("tests", self.tests, self.tests >= 0, "0, or how many a problem is to have"),
            ("slots", self.executor.slots, self.executor.slots >= 0, "0, or how many at a time"),
            ("cpu-s", self.cpu_s, 0 < self.cpu_s < math.inf, "seconds, above 0"),
            ("memory-mb", self.executor.memory_mb, self.executor.memory_mb > 0, "above 0"),
        ):
            if not is_fit:
                raise ConfigError(f"--{flag} {value}: must be {allowed}")

    def of_rows(self) -> dict[str, Any]:
        """What each row's fate depends on: a journal of other values cannot be gone on with."""
        return {
            "rules": RULES,
            "problems": self.problems,
            "runs": self.runs,
            "solutions": self.solutions,
            "tests": self.tests,
            "agree": self.agree,
            "against": list(self.against),
            "ngram": self.ngram,
            "overlap": self.overlap,
            "seed": self.seed,
            "cpu_s": self.cpu_s,
            "memory_mb": self.executor.memory_mb,
        }
