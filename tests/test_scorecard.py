"""What verdicts come to: denominators above all."""

from collections.abc import Sequence

import pytest
from stepcoder_executor import IoTests, Verdict

from stepcoder_jax.problem import Problem
from stepcoder_jax.scorecard import markdown_row, tally

PASSED, FAILED, LOST = Verdict.PASSED, Verdict.FAILED, Verdict.EXECUTOR_ERROR


def problem(name: str, difficulty: str = "introductory", source: str = "mine") -> Problem:
    return Problem(
        id=name,
        question="",
        difficulty=difficulty,
        starter_code="",
        canonical_solution=None,
        tests=IoTests(fn_name="f", inputs=([1],), outputs=(2,)),
        source=source,
    )


def test_means_are_over_problems_and_groups_have_their_own() -> None:
    problems = [
        problem("a", "competition"),
        problem("b", "introductory"),
        problem("c", "introductory", "yours"),
    ]
    verdicts = {"a": [PASSED, PASSED], "b": [FAILED, PASSED], "c": [FAILED, FAILED]}
    card = tally(problems, verdicts, (1, 2))
    assert card.pass_at_k == pytest.approx({1: (1 + 0.5 + 0) / 3, 2: (1 + 1 + 0) / 3})
    assert list(card.by_difficulty) == ["introductory", "competition"]
    assert card.by_difficulty["introductory"] == {"problems": 2, "pass@1": 0.25, "pass@2": 0.5}
    assert card.by_source["yours"] == {"problems": 1, "pass@1": 0.0, "pass@2": 0.0}
    assert card.verdicts["passed"] == 0.5
    low, high = card.intervals[1]
    assert low <= card.pass_at_k[1] <= high


def test_a_problem_without_samples_is_not_solved() -> None:
    card = tally([problem("a"), problem("b")], {"a": [PASSED]}, (1,))
    assert card.pass_at_k == {1: 0.5}
    assert (card.problems, card.samples) == (2, 1)


def test_what_the_executor_could_not_judge_is_in_no_figure() -> None:
    verdicts = {"a": [PASSED, LOST], "b": [LOST, LOST]}
    card = tally([problem("a"), problem("b")], verdicts, (1,))
    assert card.pass_at_k == {1: 1.0}
    assert (card.executor_errors, card.verdicts["passed"]) == (3, 1.0)
    with pytest.raises(RuntimeError, match="pass@2"):
        tally([problem("a"), problem("b")], verdicts, (2,))


def rows(text: str) -> Sequence[Sequence[str]]:
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in text.splitlines()]


def test_the_markdown_row_has_a_cell_for_each_head_and_percents() -> None:
    verdicts = {"a": [PASSED, FAILED, Verdict.TIMEOUT, Verdict.MEMORY_EXCEEDED]}
    head, _, row = rows(markdown_row("m | n", tally([problem("a")], verdicts, (1, 4))))
    cells = dict(zip(head, row, strict=True))
    assert cells["pass@1"] == "25.0 (25.0–25.0)"
    assert cells["pass@4"] == "100.0 (100.0–100.0)"
    outcomes = ("compile errors", "runtime errors", "timeouts", "failures", "passes")
    assert [cells[name] for name in outcomes] == ["0.0", "25.0", "25.0", "25.0", "25.0"]
