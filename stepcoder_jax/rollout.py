"""Attempts made ready for the learner: scored, masked, weighed, and packed into arrays."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float32

from stepcoder_jax.config import FGOConfig
from stepcoder_jax.coverage_mask import mark_executed, mark_trained
from stepcoder_jax.reward_function import Judge, token_weights
from stepcoder_jax.types import RolloutBatch
from stepcoder_jax.worker import Attempt


@dataclass(frozen=True, kw_only=True)
class Rollout:
    """An attempt made ready for the learner.

    Attributes:
      problem_index: row of the training set.
      stage: curriculum stage of its prompt; 0 is ordinary generation.
      moves_stage: whether its group counts for the curriculum (``curriculum.mix``).
      score: of the reward function; None when the executor itself failed, or the function says so.
      is_trained: one bool a response token: those that the policy loss counts (FGO).
      weights: one a response token: what it counts there.
    """

    attempt: Attempt
    problem_index: int
    stage: int
    moves_stage: bool
    score: float | None
    is_trained: Bool[np.ndarray, " R"]
    weights: Float32[np.ndarray, " R"]


def make_rollout(
    attempt: Attempt,
    *,
    problem_index: int,
    stage: int,
    moves_stage: bool,
    judge: Judge,
    fgo: FGOConfig,
    rng: np.random.Generator,
) -> Rollout:
    """Scores an attempt, masks its tokens and weighs them."""
    program = attempt.program
    executed = mark_executed(
        program.text,
        attempt.result.covered or (),
        program.token_spans,
        program.is_end,
        attempt.result.verdict,
        fgo,
    )
    reward = judge(attempt.outcome)
    weights = () if reward is None else reward.weights
    return Rollout(
        attempt=attempt,
        problem_index=problem_index,
        stage=stage,
        moves_stage=moves_stage,
        score=None if reward is None else reward.score,
        is_trained=mark_trained(executed, program.is_end, fgo, rng),
        weights=token_weights(weights, len(program.text), program.token_spans),
    )


def make_batch(
    rollouts: Sequence[Rollout], *, row_buckets: Sequence[int], pad_token: int
) -> RolloutBatch:
    """Packs rollouts into right-padded rows of the shortest bucket that holds them all.

    A rollout without a score keeps its row, with nothing True in its masks: dropped, never scored.
    """
    longest = max(len(r.attempt.prompt.tokens) + len(r.attempt.sample.tokens) for r in rollouts)
    width = next(bucket for bucket in row_buckets if bucket >= longest)
    shape = (len(rollouts), width)
    tokens = np.full(shape, pad_token, np.int32)
    is_response, executed = np.zeros(shape, bool), np.zeros(shape, bool)
    logprobs, weights = np.zeros(shape, np.float32), np.ones(shape, np.float32)
    scores = np.zeros(len(rollouts), np.float32)
    for row, rollout in enumerate(rollouts):
        prompt, sample = rollout.attempt.prompt, rollout.attempt.sample
        first = len(prompt.tokens)
        inside = slice(first, first + len(sample.tokens))
        tokens[row, :first] = prompt.tokens
        tokens[row, inside] = sample.tokens
        logprobs[row, inside] = sample.logprobs
        if rollout.score is not None:
            is_response[row, inside] = True
            executed[row, inside] = rollout.is_trained
            weights[row, inside] = rollout.weights
            scores[row] = rollout.score
    return RolloutBatch(
        tokens=jnp.asarray(tokens),
        is_response=jnp.asarray(is_response),
        is_executed=jnp.asarray(executed),
        weights=jnp.asarray(weights),
        scores=jnp.asarray(scores),
        sampler_logprobs=jnp.asarray(logprobs),
    )


def fingerprints(rollouts: Sequence[Rollout]) -> dict[str, str]:
    """Of what the learner is given, a few characters each: equal where all of it is."""
    parts = {
        "responses": [np.array(r.attempt.sample.tokens, np.int32).tobytes() for r in rollouts],
        "verdicts": [r.attempt.result.verdict.value.encode() for r in rollouts],
        "scores": [repr(r.score).encode() for r in rollouts],
        "tokens that count": [r.is_trained.tobytes() for r in rollouts],
        "weights": [r.weights.tobytes() for r in rollouts],
    }
    return {name: hashlib.sha256(b" ".join(rows)).hexdigest()[:12] for name, rows in parts.items()}
