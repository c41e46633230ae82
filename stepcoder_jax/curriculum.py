"""CCCS: where in its canonical solution each problem's generation starts, and when that moves.

Training starts every problem at its last stage and moves it down as the policy succeeds.

Source: StepCoder (arXiv 2402.01391), algorithm 1, which prints `min(c - 1, 0)` where only `max`
can be meant.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Int, Int32

from stepcoder_jax.config import CurriculumConfig
from stepcoder_jax.stages import ProblemCurriculum

# Keeps this draw apart from others that follow from a seed and an iteration.
MIX_STREAM = 1


@dataclass(frozen=True, kw_only=True)
class CurriculumState:
    """Where every problem stands; part of the checkpoint.

    Attributes:
        stage: c, from C - 1 down to 0.
        pass_rate: rho, moving average of the pass rate since the stage was entered.
        visits: groups of rollouts that counted so far.
    """

    stage: Int32[np.ndarray, " problems"]
    pass_rate: Float32[np.ndarray, " problems"]
    visits: Int32[np.ndarray, " problems"]


def initial_state(problems: Sequence[ProblemCurriculum]) -> CurriculumState:
    """Every problem at its last stage, with a pass rate of 0."""
    return CurriculumState(
        stage=np.array([len(problem.prefixes) - 1 for problem in problems], np.int32),
        pass_rate=np.zeros(len(problems), np.float32),
        visits=np.zeros(len(problems), np.int32),
    )


def update(
    state: CurriculumState,
    indices: Int[np.ndarray, " groups"],
    fractions: Float32[np.ndarray, " groups"],
    config: CurriculumConfig,
) -> CurriculumState:
    """State after some groups of rollouts.

    `rho <- (1 - alpha) rho + alpha fraction`; if `rho > threshold`, `c <- max(c - 1, 0); rho <- 0`.

    Args:
        state: is left as it is.
        indices: problem of each group; a problem that comes twice moves twice, in order.
        fractions: share of the group with a passing program, in [0, 1]. Leave out groups in which
            nothing was judged.
        config: `alpha`, `threshold`.

    Raises:
        ValueError: a fraction outside [0, 1].
    """
    stage, pass_rate, visits = state.stage.copy(), state.pass_rate.copy(), state.visits.copy()
    for index, fraction in zip(indices, fractions, strict=True):
        if not 0 <= fraction <= 1:
            raise ValueError(f"pass fraction of problem {index} is {fraction}; it must be in [0,1]")
        rate = np.float32(1 - config.alpha) * pass_rate[index] + np.float32(config.alpha) * fraction
        moves = rate > config.threshold
        pass_rate[index] = 0.0 if moves else rate
        stage[index] = max(stage[index] - moves, 0)
        visits[index] += 1
    return CurriculumState(stage=stage, pass_rate=pass_rate, visits=visits)


def stage_histogram(state: CurriculumState) -> Int[np.ndarray, " stages"]:
    """Count the problems at each stage, from 0 up to the highest in use."""
    return np.bincount(state.stage, minlength=1)


def to_arrays(state: CurriculumState) -> dict[str, np.ndarray]:
    """Lay the state out for a checkpoint."""
    return {"stage": state.stage, "pass_rate": state.pass_rate, "visits": state.visits}


def from_arrays(
    arrays: Mapping[str, np.ndarray], problems: Sequence[ProblemCurriculum]
) -> CurriculumState:
    """Read back what `to_arrays` wrote.

    Raises:
        ValueError: it was saved for another number of problems.
    """
    state = CurriculumState(
        stage=np.asarray(arrays["stage"], np.int32),
        pass_rate=np.asarray(arrays["pass_rate"], np.float32),
        visits=np.asarray(arrays["visits"], np.int32),
    )
    sizes = [len(array) for array in (state.stage, state.pass_rate, state.visits)]
    if sizes != [len(problems)] * 3:
        raise ValueError(
            f"the saved curriculum has {sizes} entries (stage, pass_rate, visits) but the training"
            f" set has {len(problems)} problems: resume with the data the run began with"
        )
    return state


def mixed_problems(
    count: int, mix: float, *, seed: int, iteration: int
) -> Bool[np.ndarray, " count"]:
    """Which of an iteration's problems begin at stage 0, whatever theirs is, and do not move it.

    Exactly `round(mix * count)` of them; the seed and the iteration alone say which.
    """
    rng = np.random.default_rng([seed, iteration, MIX_STREAM])
    return rng.permutation(np.arange(count) < round(mix * count))
