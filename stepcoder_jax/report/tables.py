"""Headline numbers and tables of evaluations."""

from collections.abc import Sequence
from dataclasses import dataclass

from stepcoder_jax.report.run_log import Row, RunLog, number, numbers

LABELS = {"before": "before", "after_sft": "after SFT", "after_ppo": "after PPO"}

# The paper's four columns; a limit that was exceeded is a runtime error, as in the reward.
OUTCOMES = {
    "compile errors": ("compile_error",),
    "runtime errors": ("runtime_error", "timeout", "memory_exceeded", "output_exceeded"),
    "failures": ("failed",),
    "passes": ("passed",),
}


@dataclass(frozen=True, kw_only=True)
class Headline:
    """pass@1 of a problem set before and after PPO, as shares; None where it was not measured."""

    problems: str
    before_label: str
    before: float | None
    after: float | None

    @property
    def gain_points(self) -> float | None:
        """Difference in percentage points."""
        if self.before is None or self.after is None:
            return None
        return 100 * (self.after - self.before)


@dataclass(frozen=True, kw_only=True)
class EvaluationRow:
    """One evaluation: its pass rates by name and the share of each outcome."""

    problems: str
    label: str
    count: float | None
    pass_rates: dict[str, float]
    outcomes: dict[str, float]
    by_difficulty: dict[str, dict[str, float]]


def headlines(log: RunLog) -> list[Headline]:
    """One for each problem set that was evaluated, from the evaluations or else the summary."""
    rates = {
        (str(row.get("set", "")), str(row.get("label"))): number(row, "pass@1")
        for row in log.evaluations
    }
    before = numbers(log.summary, "pass@1_before")
    after = numbers(log.summary, "pass@1_after")
    sets = dict.fromkeys([name for name, _ in rates] + [*before, *after])
    found = []
    for name in sets:
        label = "after_sft" if (name, "after_sft") in rates else "before"
        first = rates.get((name, label), before.get(name))
        last = rates.get((name, "after_ppo"), after.get(name))
        title = LABELS[label] if (name, label) in rates else "before PPO"
        found.append(
            Headline(problems=name or "problems", before_label=title, before=first, after=last)
        )
    return found


def evaluation_rows(evaluations: Sequence[Row]) -> list[EvaluationRow]:
    """Evaluations grouped by problem set, in the order they were made."""
    order = list(dict.fromkeys(str(row.get("set", "")) for row in evaluations))
    grouped = sorted(evaluations, key=lambda row: order.index(str(row.get("set", ""))))
    return [_evaluation_row(row) for row in grouped]


def _evaluation_row(row: Row) -> EvaluationRow:
    verdicts = numbers(row, "verdicts")
    label = str(row.get("label"))
    outcomes = {name: sum(verdicts.get(v, 0.0) for v in of) for name, of in OUTCOMES.items()}
    return EvaluationRow(
        problems=str(row.get("set") or "problems"),
        label=LABELS.get(label, label),
        count=number(row, "problems"),
        pass_rates=_pass_rates(row),
        outcomes=outcomes if verdicts else {},
        by_difficulty=_by_difficulty(row),
    )


def _by_difficulty(row: Row) -> dict[str, dict[str, float]]:
    table = row.get("by_difficulty")
    names = table if isinstance(table, dict) else {}
    return {str(name): numbers(names, name) for name in names if numbers(names, name)}


def _pass_rates(row: Row) -> dict[str, float]:
    rates = {key: number(row, key) for key in row if key.startswith("pass@")}
    return {key: rate for key, rate in rates.items() if rate is not None}
