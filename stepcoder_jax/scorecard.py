"""The figures of an evaluation: pass@k with intervals, by difficulty and source, and verdicts."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from stepcoder_executor import Verdict

from stepcoder_jax.pass_rates import bootstrap_interval, pass_at_k
from stepcoder_jax.problem import DIFFICULTIES, Problem

# The paper's table of errors; what else can end a program is shown beside it.
OUTCOMES = {
    "compile errors": (Verdict.COMPILE_ERROR,),
    "runtime errors": (Verdict.RUNTIME_ERROR, Verdict.MEMORY_EXCEEDED, Verdict.OUTPUT_EXCEEDED),
    "timeouts": (Verdict.TIMEOUT,),
    "failures": (Verdict.FAILED,),
    "passes": (Verdict.PASSED,),
}


@dataclass(frozen=True, kw_only=True)
class Scorecard:
    """What the verdicts of an evaluation come to.

    Attributes:
      problems: how many the means are over.
      samples: programs judged or tried, over all problems.
      pass_at_k: k -> mean over problems, in [0, 1].
      intervals: k -> 95 % bootstrap interval of that mean.
      by_difficulty, by_source: group -> its ``pass@k`` and the number of its problems.
      verdicts: shares over all judged samples.
      executor_errors: samples that could not be judged; they are left out of every figure.
    """

    problems: int
    samples: int
    pass_at_k: dict[int, float]
    intervals: dict[int, tuple[float, float]]
    by_difficulty: dict[str, dict[str, float]]
    by_source: dict[str, dict[str, float]]
    verdicts: dict[str, float]
    executor_errors: int

    def to_json(self) -> dict[str, Any]:
        """The fields of the contract's last line, with more beside them."""
        return {
            **{f"pass@{k}": value for k, value in self.pass_at_k.items()},
            "ci95": {f"pass@{k}": list(bounds) for k, bounds in self.intervals.items()},
            "by_difficulty": self.by_difficulty,
            "by_source": self.by_source,
            "verdicts": self.verdicts,
            "problems": self.problems,
            "samples": self.samples,
            "executor_errors": self.executor_errors,
        }


def tally(
    problems: Sequence[Problem], verdicts: Mapping[str, Sequence[Verdict]], k: Sequence[int]
) -> Scorecard:
    """Counts.

    Args:
      problems: the denominator; one of which ``verdicts`` knows nothing counts as not solved.
      verdicts: problem id -> those of its samples. A problem of which the executor judged fewer
        than k samples is left out of pass@k.
      k: which pass@k.

    Raises:
      RuntimeError: the executor judged too few programs to estimate anything.
    """
    estimates = {n: {p.id: _estimate(verdicts.get(p.id, ()), n) for p in problems} for n in k}
    known = {n: [v for v in by_id.values() if v is not None] for n, by_id in estimates.items()}
    for n, values in known.items():
        if not values:
            raise RuntimeError(f"pass@{n}: the executor judged {n} samples of no problem")
    every = [v for problem in problems for v in verdicts.get(problem.id, ())]
    judged = [v for v in every if v is not Verdict.EXECUTOR_ERROR]
    by_source = _grouped(problems, estimates, lambda p: p.source)
    by_difficulty = _grouped(problems, estimates, lambda p: p.difficulty)
    return Scorecard(
        problems=len(problems),
        samples=len(every),
        pass_at_k={n: float(np.mean(values)) for n, values in known.items()},
        intervals={n: bootstrap_interval(values) for n, values in known.items()},
        by_difficulty={d: by_difficulty[d] for d in DIFFICULTIES if d in by_difficulty},
        by_source=by_source,
        verdicts=verdict_shares(judged),
        executor_errors=len(every) - len(judged),
    )


def verdict_shares(verdicts: Sequence[Verdict]) -> dict[str, float]:
    """Share of each verdict, every kind named, in the order of the contract."""
    return {v.value: verdicts.count(v) / max(len(verdicts), 1) for v in Verdict}


def markdown_row(label: str, card: Scorecard) -> str:
    """A table of one row, its head included: pass@k in percent with intervals, then outcomes."""
    ks = list(card.pass_at_k)
    head = ["", "problems", *(f"pass@{k}" for k in ks), *OUTCOMES]
    rates = [
        f"{100 * card.pass_at_k[k]:.1f} ({100 * low:.1f}–{100 * high:.1f})"
        for k, (low, high) in card.intervals.items()
    ]
    shares = [f"{100 * sum(card.verdicts[v.value] for v in of):.1f}" for of in OUTCOMES.values()]
    row = [label.replace("|", r"\|"), str(card.problems), *rates, *shares]
    rule = "|---" * len(head) + "|"
    return "\n".join([f"| {' | '.join(head)} |", rule, f"| {' | '.join(row)} |"])


def _estimate(verdicts: Sequence[Verdict], k: int) -> float | None:
    """pass@k of one problem; None when the executor judged fewer than k of its samples."""
    if not verdicts:
        return 0.0
    judged = [v for v in verdicts if v is not Verdict.EXECUTOR_ERROR]
    if len(judged) < k:
        return None
    return pass_at_k(len(judged), judged.count(Verdict.PASSED), k)


def _grouped(
    problems: Sequence[Problem],
    estimates: Mapping[int, Mapping[str, float | None]],
    group_of: Callable[[Problem], str],
) -> dict[str, dict[str, float]]:
    """Group -> pass@k (where one of its problems has an estimate) and number of problems."""
    table: dict[str, dict[str, float]] = {}
    for group in dict.fromkeys(map(group_of, problems)):
        ids = [p.id for p in problems if group_of(p) == group]
        table[group] = {"problems": len(ids)}
        for k, by_id in estimates.items():
            known = [v for v in (by_id[i] for i in ids) if v is not None]
            if known:
                table[group][f"pass@{k}"] = float(np.mean(known))
    return table
