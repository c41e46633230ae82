"""Evaluation: n samples a problem, unbiased pass@k, by difficulty, and the table of verdicts."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import PRNGKeyArray
from stepcoder_executor import Verdict

from stepcoder_jax.config import EvalConfig
from stepcoder_jax.data.prompts import PromptBuilder
from stepcoder_jax.data.training_set import fitting
from stepcoder_jax.rollout import Attempt, Worker, row_keys, verdict_shares
from stepcoder_jax.types import DIFFICULTIES, Params, Problem


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What an evaluation found.

    Attributes:
      pass_at_k: k -> mean over problems, in [0, 1].
      by_difficulty: difficulty -> k -> mean, and the number of its problems.
      verdicts: shares over all samples; the rows of the paper's table of errors.
      left_out: ids of problems whose prompt does not fit; they count as not solved.
      executor_errors: samples that could not be judged; they are left out of every figure.
      seconds: wall time.
      tokens: sampled.
    """

    problems: int
    samples: int
    pass_at_k: dict[int, float]
    by_difficulty: dict[str, dict[str, float]]
    verdicts: dict[str, float]
    left_out: tuple[str, ...]
    executor_errors: int
    seconds: float
    tokens: int

    def to_json(self) -> dict[str, Any]:
        """The contract's last line of ``stepcoder eval --json``, with more beside it."""
        return {
            **{f"pass@{k}": value for k, value in self.pass_at_k.items()},
            "by_difficulty": self.by_difficulty,
            "verdicts": self.verdicts,
            "problems": self.problems,
            "samples": self.samples,
            "left_out": list(self.left_out),
            "executor_errors": self.executor_errors,
            "tokens_per_s": round(self.tokens / max(self.seconds, 1e-9), 1),
            "seconds": round(self.seconds, 2),
        }


def pass_at_k(samples: int, passed: int, k: int) -> float:
    """Probability that one of k samples passes, estimated without bias from n >= k samples.

    ``1 - C(n - c, k) / C(n, k)``

    Raises:
      ValueError: k > n or c > n.

    Source: Chen et al., Evaluating Large Language Models Trained on Code (arXiv 2107.03374), eq. 1.
    """
    if not 0 <= passed <= samples or not 1 <= k <= samples:
        raise ValueError(f"pass@{k} of {passed} passed in {samples} samples is not defined")
    if samples - passed < k:
        return 1.0
    return float(1.0 - np.prod(1.0 - k / np.arange(samples - passed + 1, samples + 1)))


def evaluate(
    worker: Worker,
    builder: PromptBuilder,
    params: Params,
    problems: Sequence[Problem],
    key: PRNGKeyArray,
    config: EvalConfig,
    progress: Callable[[int], None],
    *,
    longest_prompt: int,
) -> Evaluation:
    """Evaluates a policy at stage 0 (no prefix).

    Args:
      worker: its sampler holds the evaluation's temperature and nucleus.
      params: the policy's, arranged for serving.
      problems: all count; one whose prompt does not fit counts as not solved.
      key: the whole evaluation is a function of it.
      progress: told how many responses have been sampled.
      longest_prompt: tokens of the longest prompt that fits.
    """
    kept, left_out = fitting(problems, lambda p: len(builder.prompt(p).tokens) <= longest_prompt)
    keys = row_keys(key, 0, len(kept) * config.samples)
    prompts = [builder.prompt(problem) for problem in kept]
    done = worker.attempt(
        params, kept, prompts, keys, samples=config.samples, coverage=False, progress=progress
    )
    groups = [
        done.rows[first : first + config.samples]
        for first in range(0, len(done.rows), config.samples)
    ]
    verdicts = [a.result.verdict for a in done.rows]
    judged = [v for v in verdicts if v is not Verdict.EXECUTOR_ERROR]
    estimates = {
        k: {p.id: _estimate(group, k) for p, group in zip(kept, groups, strict=True)}
        | dict.fromkeys(left_out, 0.0)
        for k in config.k
    }
    return Evaluation(
        problems=len(problems),
        samples=config.samples,
        pass_at_k={k: _mean(list(by_id.values())) for k, by_id in estimates.items()},
        by_difficulty=_by_difficulty(problems, estimates),
        verdicts=verdict_shares(judged),
        left_out=tuple(left_out),
        executor_errors=len(verdicts) - len(judged),
        seconds=done.generate_s + done.wait_s,
        tokens=sum(len(a.sample.tokens) for a in done.rows),
    )


def _estimate(group: Sequence[Attempt], k: int) -> float | None:
    """pass@k of one problem; None when the executor judged fewer than k of its samples."""
    verdicts = [a.result.verdict for a in group if a.result.verdict is not Verdict.EXECUTOR_ERROR]
    if len(verdicts) < k:
        return None
    return pass_at_k(len(verdicts), verdicts.count(Verdict.PASSED), k)


def _mean(values: Sequence[float | None]) -> float:
    known = [v for v in values if v is not None]
    return float(np.mean(known)) if known else 0.0


def _by_difficulty(
    problems: Sequence[Problem], estimates: dict[int, dict[str, float | None]]
) -> dict[str, dict[str, float]]:
    table: dict[str, dict[str, float]] = {}
    for difficulty in DIFFICULTIES:
        ids = [p.id for p in problems if p.difficulty == difficulty]
        if ids:
            means = {f"pass@{k}": _mean([e[i] for i in ids]) for k, e in estimates.items()}
            table[difficulty] = {**means, "problems": len(ids)}
    return table
