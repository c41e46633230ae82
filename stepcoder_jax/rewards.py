"""Verdicts to scores: what one execution of a program is worth."""

from collections.abc import Sequence
from typing import assert_never

from stepcoder_executor import Verdict

from stepcoder_jax.config import RewardConfig


def score(verdict: Verdict, reward: RewardConfig) -> float | None:
    """Value of a verdict, or None where nothing was learned about the program.

    A runtime error is any way of not finishing: an exception, a limit of time, memory or output.

    Args:
        verdict: of the whole program.
        reward: the score of each class; `clip`, when set, bounds their absolute value.

    Returns:
        The score; None for `executor_error`, whose sample is dropped and counted, never scored.

    Source: StepCoder (arXiv 2402.01391).
    """
    match verdict:
        case Verdict.PASSED:
            value = reward.passed
        case Verdict.FAILED:
            value = reward.failed
        case (
            Verdict.RUNTIME_ERROR
            | Verdict.TIMEOUT
            | Verdict.MEMORY_EXCEEDED
            | Verdict.OUTPUT_EXCEEDED
        ):
            value = reward.runtime_error
        case Verdict.COMPILE_ERROR:
            value = reward.compile_error
        case Verdict.EXECUTOR_ERROR:
            return None
        case unknown:
            assert_never(unknown)
    return value if reward.clip is None else min(max(value, -reward.clip), reward.clip)


def pass_fraction(verdicts: Sequence[Verdict]) -> float | None:
    """Share of a problem's samples that passed, among those the executor judged.

    Returns:
        A number in [0, 1], or None when no sample was judged: the curriculum must not move then.
    """
    judged = [verdict for verdict in verdicts if verdict is not Verdict.EXECUTOR_ERROR]
    if not judged:
        return None
    return sum(verdict is Verdict.PASSED for verdict in judged) / len(judged)
