"""What each reward function makes of an outcome."""

from dataclasses import replace

import pytest
from stepcoder_executor import IoTests, Result, Verdict
from stepcoder_executor import TestResult as Judged

from stepcoder_jax.config import RewardConfig
from stepcoder_jax.rewards import (
    Outcome,
    Reward,
    Weight,
    compile_signal,
    error_line,
    pass_fraction,
    pass_ratio,
    rltf,
    verdict_score,
)
from stepcoder_jax.types import Problem

# Other values than the defaults, so that a mix-up of fields shows.
REWARD = RewardConfig(passed=4.0, failed=3.0, runtime_error=2.0, compile_error=-5.0)
SCORES = [
    (Verdict.PASSED, 4.0),
    (Verdict.FAILED, 3.0),
    (Verdict.RUNTIME_ERROR, 2.0),
    (Verdict.TIMEOUT, 2.0),
    (Verdict.MEMORY_EXCEEDED, 2.0),
    (Verdict.OUTPUT_EXCEEDED, 2.0),
    (Verdict.COMPILE_ERROR, -5.0),
    (Verdict.EXECUTOR_ERROR, None),
]
SOLUTION = "def f(a):\n    return a + 1\n"
PROBLEM = Problem(
    id="p",
    question="",
    difficulty="introductory",
    starter_code="",
    canonical_solution=SOLUTION,
    tests=IoTests(fn_name="f", inputs=([1],), outputs=(2,)),
    source="test",
)
PROGRAM = "def f(a):\n    return b\n"


def outcome(*verdicts: Verdict, detail: str = "", program: str = PROGRAM) -> Outcome:
    """What a program gave whose tests ended so; the first that did not pass is its verdict."""
    tests = tuple(Judged(verdict=v, wall_s=0.0, detail=detail) for v in verdicts)
    verdict = next((v for v in verdicts if v is not Verdict.PASSED), Verdict.PASSED)
    result = Result(id="0", verdict=verdict, tests=tests, covered=(), wall_s=0.0)
    return Outcome(problem=PROBLEM, program=program, response_start=0, result=result)


@pytest.mark.parametrize(("verdict", "expected"), SCORES)
def test_each_verdict_has_its_score(verdict, expected):
    assert verdict_score(outcome(verdict), REWARD) == expected


def test_the_paper_s_scores_are_the_defaults():
    order = [Verdict.PASSED, Verdict.FAILED, Verdict.RUNTIME_ERROR, Verdict.COMPILE_ERROR]
    scores = [verdict_score(outcome(verdict), RewardConfig()) for verdict in order]
    assert scores == [1.0, -0.3, -0.6, -1.0]


def test_a_wrong_answer_is_worth_more_the_more_tests_it_passes():
    passed, failed = Verdict.PASSED, Verdict.FAILED
    default = RewardConfig()
    assert pass_ratio(outcome(failed, failed), default) == -0.3
    assert pass_ratio(outcome(passed, failed, passed, passed), default) == -0.3 + 1.3 * 0.75
    # A later test that raises is one that did not pass.
    mixed = outcome(passed, failed, Verdict.RUNTIME_ERROR, passed)
    assert pass_ratio(mixed, default) == -0.3 + 1.3 * 0.5
    assert pass_ratio(mixed, REWARD) == 3.5


@pytest.mark.parametrize(("verdict", "expected"), [s for s in SCORES if s[1] != 3.0])
def test_the_ratio_is_of_wrong_answers_alone(verdict, expected):
    assert pass_ratio(outcome(verdict, Verdict.PASSED), REWARD) == expected


def test_the_line_of_an_exception_weighs_as_if_its_score_were_lower():
    raised = outcome(Verdict.RUNTIME_ERROR, detail="NameError: b (line 2)")
    found = error_line(raised, REWARD)
    value = (2.0 - 0.3) / 2.0
    assert found == Reward(score=2.0, weights=(Weight(start=10, end=22, value=value),))
    heavier = replace(REWARD, error_penalty=1.0, runtime_error=-0.5)
    found = error_line(raised, heavier)
    assert found == Reward(score=-0.5, weights=(Weight(start=10, end=22, value=3.0),))
    # A weight that turned the gradient round would be refused.
    found = error_line(raised, replace(REWARD, error_penalty=5.0))
    assert found == Reward(score=2.0, weights=(Weight(start=10, end=22, value=0.0),))


def test_an_endless_program_weighs_more_everywhere():
    found = error_line(outcome(Verdict.TIMEOUT), RewardConfig())
    weight = Weight(start=0, end=len(PROGRAM), value=(-0.6 - 0.3) / -0.6)
    assert found == Reward(score=-0.6, weights=(weight,))


@pytest.mark.parametrize("verdict", [Verdict.PASSED, Verdict.FAILED, Verdict.MEMORY_EXCEEDED])
def test_without_a_place_there_is_a_score_alone(verdict):
    assert error_line(outcome(verdict), REWARD) == verdict_score(outcome(verdict), REWARD)


def test_a_score_of_nothing_has_no_weights():
    free = replace(REWARD, runtime_error=0.0)
    assert error_line(outcome(Verdict.TIMEOUT), free) == 0.0


def test_rltf_is_both():
    wrong = outcome(Verdict.PASSED, Verdict.FAILED)
    assert rltf(wrong, REWARD) == pass_ratio(wrong, REWARD) == 3.5
    raised = outcome(Verdict.RUNTIME_ERROR, detail="NameError: b (line 2)")
    assert rltf(raised, REWARD) == error_line(raised, REWARD)


def test_ppocoder_adds_the_likeness_to_the_solution():
    # Of module, def, arguments, return and sum of the solution the program has the arguments.
    assert compile_signal(outcome(Verdict.FAILED), REWARD) == 3.0 + 1 / 5
    assert compile_signal(outcome(Verdict.PASSED, program=SOLUTION), REWARD) == 5.0
    assert compile_signal(outcome(Verdict.COMPILE_ERROR, program=SOLUTION), REWARD) == -5.0
    assert compile_signal(outcome(Verdict.EXECUTOR_ERROR, program=SOLUTION), REWARD) is None


def test_pass_fraction_is_among_judged_samples():
    group = [Verdict.PASSED, Verdict.TIMEOUT, Verdict.EXECUTOR_ERROR, Verdict.FAILED]
    assert pass_fraction(group) == 1 / 3


def test_pass_fraction_of_nothing_judged_is_unknown():
    assert pass_fraction([Verdict.EXECUTOR_ERROR] * 2) is None
    assert pass_fraction([]) is None
