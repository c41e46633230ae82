"""What the log and the display say of an iteration of PPO."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from stepcoder_executor import Verdict

from stepcoder_jax.experience import Experience
from stepcoder_jax.program import TokenBytes
from stepcoder_jax.rollout import Rollout
from stepcoder_jax.scorecard import verdict_shares

# Rollouts of an iteration that are written out for people to read.
SHOWN_ROLLOUTS = 4


def rollout_metrics(rollouts: Sequence[Rollout], stages: np.ndarray) -> dict[str, Any]:
    """What the rollouts of an iteration came to; ``stages`` are those of its problems."""
    verdicts = [r.attempt.result.verdict for r in rollouts]
    judged = [r for r in rollouts if r.score is not None]
    at_start = [r for r in judged if r.attempt.prompt.prefix_tokens == 0]
    return {
        "reward_mean": _mean([r.score for r in judged]),
        "pass_rate": _pass_rate(judged),
        "stage0_reward_mean": _mean([r.score for r in at_start]),
        "stage0_pass_rate": _pass_rate(at_start),
        "stage0_share": len(at_start) / max(len(judged), 1),
        "stage_mean": float(np.mean(stages)),
        "mixed": sum(not r.moves_stage for r in rollouts),
        "verdicts": verdict_shares(verdicts),
        "dropped": len(rollouts) - len(judged),
        "response_tokens_mean": _mean([float(len(r.attempt.sample.tokens)) for r in rollouts]),
        "stopped": dict(Counter(r.attempt.sample.stopped for r in rollouts)),
    }


def _pass_rate(rollouts: Sequence[Rollout]) -> float | None:
    return _mean([float(r.attempt.result.verdict is Verdict.PASSED) for r in rollouts])


def _mean(values: Sequence[float | None]) -> float | None:
    known = [v for v in values if v is not None]
    return float(np.mean(known)) if known else None


def summarise(steps: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Means over those of an iteration's steps that have a statistic; the extreme ratios."""
    reduce = {"ratio_max": np.max, "ratio_min": np.min}
    names = dict.fromkeys(name for step in steps for name in step)
    return {k: float(reduce.get(k, np.mean)([s[k] for s in steps if k in s])) for k in names}


def seconds_of(experience: Experience, *, score: float, update: float) -> dict[str, Any]:
    """Where the time of an iteration went, and how many response tokens came of a second.

    ``hidden_s`` is what of rollout and execution passed beside the training on the batch before.
    """
    done = experience.attempts
    seconds = {
        "rollout": done.generate_s,
        "execute": done.wait_s,
        "score": score,
        "update": update,
    }
    tokens = sum(len(row.sample.tokens) for row in done.rows)
    return {
        "tokens_per_s": round(tokens / (sum(seconds.values()) - experience.hidden_s), 1),
        "executor_hidden_fraction": done.executor_hidden_fraction,
        "hidden_s": round(experience.hidden_s, 3),
        "seconds": {name: round(value, 3) for name, value in seconds.items()},
    }


def shown_rollouts(
    rollouts: Sequence[Rollout], token_bytes: TokenBytes
) -> Iterator[dict[str, Any]]:
    """A few rollouts of an iteration, evenly spread, as people read them."""
    stride = max(1, len(rollouts) // SHOWN_ROLLOUTS)
    for rollout in rollouts[::stride][:SHOWN_ROLLOUTS]:
        attempt = rollout.attempt
        prefix = token_bytes.text(attempt.prompt.prefix)
        yield {
            "problem_id": attempt.problem.id,
            "question": attempt.problem.question,
            "prefix": prefix,
            "response": attempt.program.text[len(prefix) :],
            "stopped": attempt.sample.stopped,
            "verdict": attempt.result.verdict.value,
            "reward": rollout.score,
            "stage": rollout.stage,
            "executed": [list(span) for span in attempt.result.covered or ()],
        }


def facts(metrics: Mapping[str, Any]) -> dict[str, str]:
    """What the progress display shows of an iteration."""

    def show(value: float | None) -> str:
        return "-" if value is None else f"{value:.2f}"

    return {
        "pass": show(metrics["pass_rate"]),
        "pass@stage0": show(metrics["stage0_pass_rate"]),
        "reward": show(metrics["reward_mean"]),
        "stage": show(metrics["stage_mean"]),
        "executed": show(metrics["executed_fraction"]),
        "KL": f"{metrics['kl']:.4f}",
        "tokens/s": f"{metrics['tokens_per_s']:.0f}",
    }
