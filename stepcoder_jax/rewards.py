"""What one execution of a program is worth: the reward functions, and what they are given.

A reward function is any `(Outcome, RewardConfig) -> Reward | float | None`; a recipe names the one
it uses by import path (`reward.function`), and `reward_function` finds and calls it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import assert_never

from stepcoder_executor import Result, Verdict

from stepcoder_jax.config import RewardConfig
from stepcoder_jax.error_place import error_span
from stepcoder_jax.syntax_match import syntax_match
from stepcoder_jax.types import Problem


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """A program, and what the executor found.

    Attributes:
        problem: what was asked, with its canonical solution, if known, and its tests.
        program: the executed text: the curriculum's prefix and the response.
        response_start: code point of `program` at which the response begins.
        result: the verdict, that of each test that ran with its detail, the executed spans. Its
            verdict is never `executor_error`: such a sample is dropped before any function sees it.
    """

    problem: Problem
    program: str
    response_start: int
    result: Result


@dataclass(frozen=True, kw_only=True)
class Weight:
    """What the half-open code points of a program count in the policy loss: finite, at least 0."""

    start: int
    end: int
    value: float


@dataclass(frozen=True, kw_only=True)
class Reward:
    """What a program is worth.

    Attributes:
        score: of the whole program, finite, before `reward.clip`.
        weights: of its characters; those that none names count 1, and where two overlap the later
            one holds. Weights of the prefix mean nothing: its tokens are not trained.
    """

    score: float
    weights: tuple[Weight, ...] = ()


type RewardFunction = Callable[[Outcome, RewardConfig], Reward | float | None]

# Set on a function that is wrong of a result that ends at the first test that did not pass.
NEEDS_ALL_TESTS = "needs_all_tests"


def needs_all_tests[F: RewardFunction](function: F) -> F:
    """Marks a reward function that counts tests: a recipe that uses it must run them all."""
    setattr(function, NEEDS_ALL_TESTS, True)
    return function


def verdict_score(outcome: Outcome, reward: RewardConfig) -> float | None:
    """Value of the program's verdict; StepCoder's reward, and the default.

    A runtime error is any way of not finishing: an exception, a limit of time, memory or output.

    Source: StepCoder (arXiv 2402.01391).
    """
    match outcome.result.verdict:
        case Verdict.PASSED:
            return reward.passed
        case Verdict.FAILED:
            return reward.failed
        case (
            Verdict.RUNTIME_ERROR
            | Verdict.TIMEOUT
            | Verdict.MEMORY_EXCEEDED
            | Verdict.OUTPUT_EXCEEDED
        ):
            return reward.runtime_error
        case Verdict.COMPILE_ERROR:
            return reward.compile_error
        case Verdict.EXECUTOR_ERROR:
            return None
        case unknown:
            assert_never(unknown)


@needs_all_tests
def pass_ratio(outcome: Outcome, reward: RewardConfig) -> float | None:
    """RLTF's adaptive feedback: a wrong answer is worth more, the more tests it passes.

    `failed + (passed - failed) * (tests passed) / tests`, -0.3 + 1.3 * ratio by default, where the
    verdict is `failed`; what every other verdict is worth otherwise.

    Source: RLTF (arXiv 2307.04349), adaptive feedback.
    """
    if outcome.result.verdict is not Verdict.FAILED:
        return verdict_score(outcome, reward)
    tests = outcome.result.tests
    ratio = sum(test.verdict is Verdict.PASSED for test in tests) / len(tests)
    return reward.failed + (reward.passed - reward.failed) * ratio


def error_line(outcome: Outcome, reward: RewardConfig) -> Reward | float | None:
    """RLTF's fine-grained feedback: the verdict's value, and more weight where the error is.

    Characters to blame (`error_span`: a line, or the whole program) count as if the score were
    lower by `reward.error_penalty` there: `max(0, (score - error_penalty) / score)`, everything
    else counts 1. Nothing is weighed where the score is 0: no weight makes that lower.

    Source: RLTF (arXiv 2307.04349), fine-grained feedback. There it is a loss beside the one of the
        whole program; a weight differs from that as the advantage does from the score.
    """
    return _blamed(outcome, verdict_score(outcome, reward), reward)


@needs_all_tests
def rltf(outcome: Outcome, reward: RewardConfig) -> Reward | float | None:
    """All of RLTF's feedback: the score of `pass_ratio` with the weights of `error_line`."""
    return _blamed(outcome, pass_ratio(outcome, reward), reward)


def compile_signal(outcome: Outcome, reward: RewardConfig) -> float | None:
    """PPOCoder's reward: the signal of compiler and tests, plus the likeness to the solution.

    The verdict's value, plus `syntax_match` with the canonical solution, in [0, 1]; nothing is
    added for a program that does not compile, or without a canonical solution.

    Source: PPOCoder (arXiv 2301.13816). Its third term, the match of data flow, is left out; its
        fourth, the KL penalty, is `kl`.
    """
    signal = verdict_score(outcome, reward)
    if signal is None or outcome.result.verdict is Verdict.COMPILE_ERROR:
        return signal
    return signal + syntax_match(outcome.program, outcome.problem.canonical_solution)


def _blamed(outcome: Outcome, score: float | None, reward: RewardConfig) -> Reward | float | None:
    span = error_span(outcome.program, outcome.result)
    if span is None or not score:
        return score
    value = max(0.0, (score - reward.error_penalty) / score)
    return Reward(score=score, weights=(Weight(start=span[0], end=span[1], value=value),))


def pass_fraction(verdicts: Sequence[Verdict]) -> float | None:
    """Share of a problem's samples that passed, among those the executor judged.

    Returns:
        A number in [0, 1], or None when no sample was judged: the curriculum must not move then.
    """
    judged = [verdict for verdict in verdicts if verdict is not Verdict.EXECUTOR_ERROR]
    if not judged:
        return None
    return sum(verdict is Verdict.PASSED for verdict in judged) / len(judged)
