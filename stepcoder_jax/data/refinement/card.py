"""The data card: what is in a built set, what is not and why, in figures."""

import bisect
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from stepcoder_jax.config import CurriculumConfig
from stepcoder_jax.data.refinement.contamination import LineOverlap
from stepcoder_jax.data.refinement.journal import Entry, kind_of
from stepcoder_jax.data.stats import style_of, test_count
from stepcoder_jax.problem import Problem
from stepcoder_jax.stages import conditional_statements

# Upper bounds of the columns in which shares of lines and reference seconds are counted.
_SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
_SECONDS = (0.001, 0.01, 0.1, 0.5, 1.0, 3.0)


@dataclass(kw_only=True)
class Tally:
    """Counts over the rows, one after another.

    Attributes:
      reasons: kind -> rows that are dropped for it.
      unreadable: of these, what was wrong with rows that could not be read.
      counts: what is counted of kept problems -> value -> how many.
      branches: taken and all, of canonical solutions, by the given tests and by all.
    """

    lines: LineOverlap
    rows: int = 0
    kept: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    unreadable: Counter[str] = field(default_factory=Counter)
    counts: dict[str, Counter[Any]] = field(default_factory=dict)
    branches: Counter[str] = field(default_factory=Counter)

    def drop(self, reason: str) -> None:
        """Counts a row that is not in the set."""
        self.rows += 1
        kind, _, details = reason.partition(": ")
        self.reasons[kind] += 1
        if kind == "unreadable":
            self.unreadable[kind_of(details.partition(" = ")[0])] += 1

    def keep(self, problem: Problem, entry: Entry) -> None:
        """Counts a problem of the set."""
        self.rows += 1
        self.kept += 1
        solution, facts = problem.canonical_solution or "", entry.facts
        self.lines.add(solution)
        keywords = CurriculumConfig().statements
        self._count("difficulty", problem.difficulty)
        self._count("style", style_of(problem.tests))
        self._count("source", problem.source)
        self._count("tests", test_count(problem.tests))
        self._count("tests_added", facts["tests_added"])
        self._count("solutions_passing", facts["solutions"]["passed"])
        self._count("conditional_statements", len(conditional_statements(solution, keywords)))
        self._count("reference_cpu_s", bisect.bisect_left(_SECONDS, facts["reference_cpu_s"]))
        taken, arms = facts["branches"][0]
        self.branches.update(given=taken, all=arms, at_the_end=facts["branches_at_the_end"][0])

    def figures(self) -> dict[str, Any]:
        """Everything that was counted, for JSON."""
        counts = {name: _ordered(counter) for name, counter in self.counts.items()}
        seconds = self.counts.get("reference_cpu_s", Counter())
        return {
            "rows": self.rows,
            "kept": self.kept,
            "dropped": self.rows - self.kept,
            "reasons": dict(self.reasons.most_common()),
            "unreadable": dict(self.unreadable.most_common()),
            **{name: counts.get(name, {}) for name in ("difficulty", "style", "source")},
            "tests_a_problem": _spread(self.counts.get("tests", Counter())),
            "tests": counts.get("tests", {}),
            "tests_added": sum(n * k for n, k in self.counts.get("tests_added", Counter()).items()),
            "solutions_passing": counts.get("solutions_passing", {}),
            "conditional_statements": counts.get("conditional_statements", {}),
            "reference_cpu_s": {
                f"up to {bound} s": seconds[place] for place, bound in enumerate(_SECONDS)
            }
            | {f"more than {_SECONDS[-1]} s": seconds[len(_SECONDS)]},
            "branches_taken": {
                "by_given_tests": _share(self.branches["given"], self.branches["all"]),
                "by_all_tests": _share(self.branches["at_the_end"], self.branches["all"]),
            },
            "line_overlap": _columns(self.lines.shares()),
        }

    def _count(self, name: str, value: Any) -> None:
        self.counts.setdefault(name, Counter())[value] += 1


def _ordered(counter: Mapping[Any, int]) -> dict[str, int]:
    return {str(value): counter[value] for value in sorted(counter)}


def _spread(counter: Counter[int]) -> dict[str, float]:
    if not counter:
        return {}
    total = sum(value * count for value, count in counter.items())
    return {"min": min(counter), "mean": total / counter.total(), "max": max(counter)}


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _columns(shares: Mapping[str, float]) -> dict[str, int]:
    """Benchmark problems by how much of their solution's lines the set has."""
    places = Counter(bisect.bisect_left(_SHARES, share) for share in shares.values())
    names: Sequence[str] = ("none", *(f"up to {bound:.0%}" for bound in _SHARES[1:]))
    return {name: places[place] for place, name in enumerate(names)}
