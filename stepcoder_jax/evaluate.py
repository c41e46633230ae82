"""Evaluation of a policy: n samples a problem, judged by the executor."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import PRNGKeyArray

from stepcoder_jax.config import EvalConfig
from stepcoder_jax.data.prompts import PromptBuilder
from stepcoder_jax.data.training_set import fitting
from stepcoder_jax.progress import Display
from stepcoder_jax.scorecard import Scorecard, tally
from stepcoder_jax.types import Params, Problem
from stepcoder_jax.worker import Attempt, Worker, row_keys


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What an evaluation found.

    Attributes:
      card: the figures.
      attempts: every sample, in the order of problems.
      left_out: ids of problems whose prompt does not fit; they count as not solved.
      seconds: wall time.
      tokens: sampled.
    """

    card: Scorecard
    attempts: tuple[Attempt, ...]
    left_out: tuple[str, ...]
    seconds: float
    tokens: int

    def to_json(self) -> dict[str, Any]:
        """The contract's last line of ``stepcoder eval --json``, with more beside it."""
        return {
            **self.card.to_json(),
            "left_out": list(self.left_out),
            "tokens_per_s": round(self.tokens / max(self.seconds, 1e-9), 1),
            "seconds": round(self.seconds, 2),
        }


def evaluate(
    worker: Worker,
    builder: PromptBuilder,
    params: Params,
    problems: Sequence[Problem],
    key: PRNGKeyArray,
    config: EvalConfig,
    display: Display,
    *,
    title: str,
    longest_prompt: int,
) -> Evaluation:
    """Evaluates a policy at stage 0 (no prefix).

    Args:
      worker: its sampler holds the evaluation's temperature and nucleus.
      params: the policy's, arranged for serving.
      problems: all count; one whose prompt does not fit counts as not solved.
      key: the whole evaluation is a function of it.
      display: shows how many responses have been sampled, as the phase ``title``.
      longest_prompt: tokens of the longest prompt that fits.

    Raises:
      FloatingPointError: the policy's log-probabilities are not finite.
    """

    def fits(problem: Problem) -> bool:
        if builder.is_too_long(problem, longest_prompt):
            return False
        return len(builder.prompt(problem).tokens) <= longest_prompt

    kept, left_out = fitting(problems, fits)
    keys = row_keys(key, 0, len(kept) * config.samples)
    prompts = [builder.prompt(problem) for problem in kept]
    with display.phase(title, len(kept) * config.samples) as meter:
        done = worker.attempt(
            params,
            kept,
            prompts,
            keys,
            samples=config.samples,
            coverage=False,
            progress=lambda n: meter(n, {}),
        )
    _require_finite(done.rows)
    verdicts = {
        problem.id: [
            a.result.verdict for a in done.rows[i * config.samples : (i + 1) * config.samples]
        ]
        for i, problem in enumerate(kept)
    }
    return Evaluation(
        card=tally(problems, verdicts, config.k),
        attempts=done.rows,
        left_out=tuple(left_out),
        seconds=done.generate_s + done.wait_s,
        tokens=sum(len(a.sample.tokens) for a in done.rows),
    )


def _require_finite(attempts: Sequence[Attempt]) -> None:
    broken = [a.problem.id for a in attempts if not np.all(np.isfinite(a.sample.logprobs))]
    if broken:
        raise FloatingPointError(
            f"log-probabilities of {len(broken)} of {len(attempts)} responses are not finite,"
            f" problem {broken[0]}'s first: the model overflows (model.dtype = float32 has the"
            " widest range), or its weights are damaged"
        )
