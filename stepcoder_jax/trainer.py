"""What turns rollouts into a new state: scoring, and the optimizer steps that can be taken."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from itertools import islice
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray

from stepcoder_jax.config import RunConfig
from stepcoder_jax.finite import finite_fields
from stepcoder_jax.learner import (
    BatchStats,
    CriticKind,
    CriticStats,
    Learner,
    PolicyStats,
    adapt_beta,
    make_train_batch,
    minibatches,
    score,
    update,
    update_critic,
)
from stepcoder_jax.nonfinite import SCORING, BrokenStep, broken_statistic, dump, stop_or_skip
from stepcoder_jax.placement import fetch, shard_rows
from stepcoder_jax.ppo_metrics import summarise
from stepcoder_jax.progress import Display
from stepcoder_jax.rollout import Rollout, make_batch
from stepcoder_jax.run_dir import RunDir
from stepcoder_jax.sharding import Mesh
from stepcoder_jax.types import Params, TrainBatch, TrainState


@dataclass(frozen=True, kw_only=True)
class Scored:
    """Rollouts made ready for optimizer steps.

    Attributes:
      problem_ids: of the batch's rows.
      broken: what in it is not finite, so that it must not be trained on; None: nothing.
    """

    batch: TrainBatch
    stats: BatchStats
    problem_ids: tuple[str, ...]
    broken: BrokenStep | None


@dataclass(frozen=True, kw_only=True)
class Updated:
    """What the optimizer steps of an iteration came to.

    Attributes:
      stats: means over the steps that were taken, of policy and critic each its own.
      skipped: steps of the run so far that were not finite.
      empty: steps of the iteration that had no token to train.
    """

    state: TrainState
    stats: dict[str, float]
    skipped: int
    empty: int


@dataclass(frozen=True, kw_only=True)
class Trainer:
    """Everything about training on rollouts that does not change from iteration to iteration.

    Attributes:
      reference: the policy as the phase found it; a copy of its own.
      frozen: what the adapters of policy, reference and critic are added to; None without LoRA.
      key: of the PPO phase.
      pad_token: fills rows up.
    """

    config: RunConfig
    learner: Learner
    reference: Params
    frozen: Params | None
    key: PRNGKeyArray
    mesh: Mesh
    run: RunDir
    display: Display
    pad_token: int

    def score(self, state: TrainState, rollouts: Sequence[Rollout], iteration: int) -> Scored:
        """Log-probs, values and advantages of rollouts under the models as they are."""
        batch = make_batch(rollouts, row_buckets=self.config.row_widths, pad_token=self.pad_token)
        batch = shard_rows(batch, self.mesh)
        scores = score(
            state.policy,
            self.reference,
            state.critic,
            batch.tokens,
            batch.is_response,
            learner=self.learner,
            pieces=self.config.ppo.minibatches * self.config.ppo.microbatches,
            frozen=self.frozen,
        )
        train_batch, stats = make_train_batch(batch, scores, beta=state.beta, learner=self.learner)
        ids = tuple(r.attempt.problem.id for r in rollouts)
        broken = _broken_scores(rollouts, train_batch, stats)
        return Scored(
            batch=train_batch,
            stats=stats,
            problem_ids=ids,
            broken=broken
            and BrokenStep(
                iteration=iteration + 1,
                step=SCORING,
                statistic=broken[0],
                value=broken[1],
                problem_ids=ids,
            ),
        )

    def update(self, state: TrainState, scored: Scored, iteration: int, skipped: int) -> Updated:
        """Takes an iteration's optimizer steps, save those that have nothing to train on.

        Args:
          state: is donated.
          iteration: from 0.
          skipped: steps of the run so far that were not finite.

        Raises:
          FloatingPointError: a step is not finite and ``ppo`` does not skip it.
        """
        if scored.broken is not None:
            skipped = self._skip(scored.broken, scored.batch, skipped)
            return Updated(state=state, stats={}, skipped=skipped, empty=0)
        # Read once: where every row trains something, so does every mini-batch.
        is_sparse = not bool(jnp.all(jnp.any(scored.batch.is_trained, axis=1)))
        taken: dict[int, dict[str, Array]] = {}
        pieces = self._pieces(scored.batch, iteration)
        for number in range(self.config.ppo.epochs * self.config.ppo.minibatches):
            piece = shard_rows(next(pieces), self.mesh)
            if not is_sparse or bool(jnp.any(piece.is_trained)):
                state, taken[number] = self._step(state, piece, iteration)
        stats = {number: _in_order(step) for number, step in taken.items()}
        for number in [n for n in stats if broken_statistic(stats[n])]:
            skipped = self._skip_step(scored, iteration, number, stats[number], skipped)
            stats[number] = taken_part(stats[number], self.learner.critic_kind)
        empty = self.config.ppo.epochs * self.config.ppo.minibatches - len(taken)
        return Updated(
            state=adapt_beta(state, scored.stats, learner=self.learner),
            stats=summarise(list(stats.values())),
            skipped=skipped,
            empty=empty,
        )

    def _step(
        self, state: TrainState, piece: TrainBatch, iteration: int
    ) -> tuple[TrainState, dict[str, Any]]:
        if iteration < self.config.critic.warmup_iterations:
            state, critic_stats = update_critic(
                state, piece, learner=self.learner, frozen=self.frozen
            )
            return state, asdict(critic_stats)
        state, *stats = update(state, piece, learner=self.learner, frozen=self.frozen)
        return state, {k: v for s in stats if s is not None for k, v in asdict(s).items()}

    def _pieces(self, batch: TrainBatch, iteration: int) -> Iterator[TrainBatch]:
        """The mini-batches of an iteration, in order."""
        ppo = self.config.ppo
        for epoch in range(ppo.epochs):
            draw = iteration * ppo.epochs + epoch
            key = jax.random.fold_in(jax.random.fold_in(self.key, 1), draw)
            yield from minibatches(batch, key, count=ppo.minibatches)

    def _skip_step(
        self,
        scored: Scored,
        iteration: int,
        number: int,
        stats: Mapping[str, np.ndarray],
        skipped: int,
    ) -> int:
        """Counts an optimizer step that policy or critic did not take: it was not finite."""
        found = broken_statistic(stats)
        assert found is not None
        batch = scored.batch
        # Dealt out as the rows are: which of them the mini-batch had.
        rows = jnp.arange(batch.tokens.shape[0], dtype=batch.tokens.dtype)[:, None]
        numbered = replace(batch, tokens=jnp.broadcast_to(rows, batch.tokens.shape))
        piece, dealt = (
            next(islice(self._pieces(b, iteration), number, None)) for b in (batch, numbered)
        )
        broken = BrokenStep(
            iteration=iteration + 1,
            step=number + 1,
            statistic=found[0],
            value=found[1],
            problem_ids=tuple(scored.problem_ids[row] for row in fetch(dealt.tokens)[:, 0]),
        )
        return self._skip(broken, piece, skipped)

    def _skip(self, broken: BrokenStep, batch: TrainBatch, skipped: int) -> int:
        folder = dump(self.run.path, broken, batch, self.config)
        self.display.say(stop_or_skip(broken, folder, skipped + 1, self.config.ppo))
        return skipped + 1


def taken_part(stats: Mapping[str, Any], critic: CriticKind) -> dict[str, Any]:
    """Of a step that policy or critic did not take, what the other says, which took its own.

    A critic on the policy's backbone takes none without the policy.
    """
    if critic != "separate":
        return {}
    parts = (("policy_is_finite", PolicyStats), ("critic_is_finite", CriticStats))
    kept = {f.name for flag, of in parts if stats.get(flag, False) for f in fields(of)}
    return {name: value for name, value in stats.items() if name in kept}


def _broken_scores(
    rollouts: Sequence[Rollout], batch: TrainBatch, stats: BatchStats
) -> tuple[str, str] | None:
    """The first thing that is not finite before any step, in the order it is computed in."""
    for rollout in rollouts:
        if not np.all(np.isfinite(rollout.attempt.sample.logprobs)):
            return f"log-probability sampled for problem {rollout.attempt.problem.id}", "not finite"
    is_finite = jax.device_get(finite_fields(batch))
    # One is computed from those before it.
    for name in (field.name for field in fields(batch)):
        if not is_finite.get(name, True):
            return name, "not finite at some token"
    return broken_statistic(_in_order(asdict(stats)))


def _in_order(stats: Mapping[str, Array | None]) -> dict[str, Any]:
    """On the host, in the order they have; JAX hands mappings back in that of the alphabet."""
    return dict(zip(stats, jax.device_get(tuple(stats.values())), strict=True))
