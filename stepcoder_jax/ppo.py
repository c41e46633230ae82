"""The PPO phase: the host loop of iterations, its metrics, and what it saves."""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import jax
import numpy as np
from jaxtyping import PRNGKeyArray

from stepcoder_jax import curriculum
from stepcoder_jax.checkpoint import CheckpointStore
from stepcoder_jax.config import RunConfig
from stepcoder_jax.curriculum import CurriculumState
from stepcoder_jax.data.order import Order, problem_order
from stepcoder_jax.data.training_set import TrainingSet
from stepcoder_jax.learner import (
    BatchStats,
    Learner,
    adapt_beta,
    make_train_batch,
    minibatches,
    score,
    update,
    update_critic,
)
from stepcoder_jax.model.lora import policy_to_serve
from stepcoder_jax.ppo_metrics import facts, rollout_metrics, summarise
from stepcoder_jax.progress import Display
from stepcoder_jax.reward_function import Judge
from stepcoder_jax.rewards import pass_fraction
from stepcoder_jax.rollout import (
    Attempts,
    Rollout,
    Worker,
    make_batch,
    make_rollout,
    row_keys,
)
from stepcoder_jax.run_dir import RunDir
from stepcoder_jax.sharding import Mesh, shard_rows
from stepcoder_jax.stop import Interrupted
from stepcoder_jax.types import Params, TrainBatch, TrainState

# Rollouts of an iteration that are written out for people to read.
SHOWN_ROLLOUTS = 4


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Where the phase stands between two iterations: with the seed, all that a resume needs.

    Attributes:
      iteration: iterations done; the order of problems and every random draw follow from it.
    """

    iteration: int
    state: TrainState
    curriculum: CurriculumState


@dataclass(frozen=True, kw_only=True)
class PPOPhase:
    """Everything about the phase that does not change from iteration to iteration.

    Attributes:
      reference: the policy as the phase found it; a copy of its own.
      judge: the recipe's reward function.
      frozen: what the adapters of policy, reference and critic are added to; None without LoRA.
      key: all randomness of the phase is folded out of it.
    """

    config: RunConfig
    learner: Learner
    worker: Worker
    judge: Judge
    data: TrainingSet
    reference: Params
    frozen: Params | None
    key: PRNGKeyArray
    mesh: Mesh
    run: RunDir
    display: Display

    def train(self, progress: Progress, store: CheckpointStore) -> Progress:
        """Runs the iterations that are left and saves the last one.

        Raises:
          Interrupted: a stop was asked for; what was done before the iteration is saved.
          FloatingPointError: a loss is not finite, or sampler and trainer disagree.
        """
        statements = [c.statements for c in self.data.curricula]
        order = problem_order(self.config.data.weighting, statements, seed=self.config.seed)
        total, done = self.config.iterations, progress.iteration
        with self.display.phase("ppo", total, done) as meter:
            while progress.iteration < total:
                try:
                    progress, metrics = self.iterate(progress, order)
                except Interrupted:
                    self.save(store, progress)
                    store.wait()
                    raise
                meter(progress.iteration, facts(metrics))
                due = progress.iteration % self.config.checkpoint.every == 0
                if due or progress.iteration == total:
                    self.save(store, progress)
        store.wait()
        return progress

    def iterate(self, progress: Progress, order: Order) -> tuple[Progress, dict[str, Any]]:
        """One iteration: sample, execute, score, update, move the curriculum."""
        number = progress.iteration
        indices = order.take(number * self.config.rollout.problems, self.config.rollout.problems)
        stages = np.where(self._mixed(number), 0, progress.curriculum.stage[indices])
        done = self._sample(progress.state.policy, number, indices, stages)
        rollouts = self._judge(done, number, indices, stages)
        started = time.monotonic()
        batch, stats = self._score(progress.state, rollouts)
        jax.block_until_ready(batch)
        scored = time.monotonic()
        state, step_stats = self._update(progress.state, batch, number)
        state = adapt_beta(state, stats, learner=self.learner)
        state_after = self._move(progress.curriculum, rollouts)
        metrics = {
            "phase": "ppo",
            "step": number + 1,
            **rollout_metrics(rollouts, stages),
            "stage_histogram": curriculum.stage_histogram(state_after).tolist(),
            **{name: float(value) for name, value in asdict(stats).items() if value is not None},
            **step_stats,
        }
        seconds = {
            "rollout": done.generate_s,
            "execute": done.wait_s,
            "score": scored - started,
            "update": time.monotonic() - scored,
        }
        tokens = sum(len(r.attempt.sample.tokens) for r in rollouts)
        metrics["tokens_per_s"] = round(tokens / sum(seconds.values()), 1)
        metrics["executor_hidden_fraction"] = done.executor_hidden_fraction
        metrics["seconds"] = {name: round(value, 3) for name, value in seconds.items()}
        self._check(metrics, number)
        self._write(metrics, rollouts)
        return Progress(iteration=number + 1, state=state, curriculum=state_after), metrics

    def save(self, store: CheckpointStore, progress: Progress) -> None:
        """Saves everything a resume needs."""
        arrays = curriculum.to_arrays(progress.curriculum)
        host = {
            "logs": self.run.marks(),
            "curriculum": {name: array.tolist() for name, array in arrays.items()},
        }
        store.save(progress.iteration, progress.state, host)

    def restore(self, store: CheckpointStore, like: TrainState) -> Progress:
        """Takes up the newest checkpoint, and cuts the logs back to it."""
        restored = store.restore(like)
        arrays = {n: np.array(a) for n, a in restored.host["curriculum"].items()}
        self.run.rewind(restored.host["logs"])
        return Progress(
            iteration=restored.step,
            state=restored.state,
            curriculum=curriculum.from_arrays(arrays, self.data.curricula),
        )

    def _sample(
        self, policy: Params, number: int, indices: np.ndarray, stages: np.ndarray
    ) -> Attempts:
        prompts = [self.data.prompts[i][stage] for i, stage in zip(indices, stages, strict=True)]
        rows = self.config.rows
        return self.worker.attempt(
            policy_to_serve(
                policy, self.frozen, lora=self.config.lora, dtype=self.config.model.dtype
            ),
            [self.data.problems[i] for i in indices],
            prompts,
            row_keys(jax.random.fold_in(self.key, 0), number * rows, rows),
            samples=self.config.rollout.samples,
            coverage=True,
            progress=lambda _: None,
        )

    def _judge(
        self, done: Attempts, number: int, indices: np.ndarray, stages: np.ndarray
    ) -> list[Rollout]:
        rng = np.random.default_rng([self.config.seed, number])
        mixed = self._mixed(number)
        samples = self.config.rollout.samples
        return [
            make_rollout(
                attempt,
                problem_index=int(indices[row // samples]),
                stage=int(stages[row // samples]),
                moves_stage=not mixed[row // samples],
                judge=self.judge,
                fgo=self.config.fgo,
                rng=rng,
            )
            for row, attempt in enumerate(done.rows)
        ]

    def _mixed(self, number: int) -> np.ndarray:
        """Which of the iteration's problems begin at stage 0 and do not move it."""
        count, mix = self.config.rollout.problems, self.config.curriculum.mix
        return curriculum.mixed_problems(count, mix, seed=self.config.seed, iteration=number)

    def _score(
        self, state: TrainState, rollouts: Sequence[Rollout]
    ) -> tuple[TrainBatch, BatchStats]:
        longest = self.config.rollout.prompt_buckets[-1] + self.config.sampling.max_new_tokens
        batch = make_batch(
            rollouts,
            row_buckets=(*self.config.rollout.row_buckets, longest),
            pad_token=self.worker.sampler.settings.pad_token,
        )
        batch = shard_rows(batch, self.mesh)
        pieces = self.config.ppo.minibatches * self.config.ppo.microbatches
        scores = score(
            state.policy,
            self.reference,
            state.critic,
            batch.tokens,
            batch.is_response,
            learner=self.learner,
            pieces=pieces,
            frozen=self.frozen,
        )
        return make_train_batch(batch, scores, beta=state.beta, learner=self.learner)

    def _update(
        self, state: TrainState, batch: TrainBatch, number: int
    ) -> tuple[TrainState, dict[str, float]]:
        ppo = self.config.ppo
        every: list[Any] = []
        for epoch in range(ppo.epochs):
            key = jax.random.fold_in(jax.random.fold_in(self.key, 1), number * ppo.epochs + epoch)
            for piece in minibatches(batch, key, count=ppo.minibatches):
                piece = shard_rows(piece, self.mesh)
                if number < self.config.critic.warmup_iterations:
                    state, critic_stats = update_critic(
                        state, piece, learner=self.learner, frozen=self.frozen
                    )
                    every.append(asdict(critic_stats))
                else:
                    state, *stats = update(state, piece, learner=self.learner, frozen=self.frozen)
                    known = [asdict(s) for s in stats if s is not None]
                    every.append({k: v for s in known for k, v in s.items()})
        return state, summarise(jax.device_get(every))

    def _move(self, state: CurriculumState, rollouts: Sequence[Rollout]) -> CurriculumState:
        samples = self.config.rollout.samples
        groups = [rollouts[i : i + samples] for i in range(0, len(rollouts), samples)]
        moves = [
            (group[0].problem_index, fraction)
            for group in groups
            if group[0].moves_stage
            and (fraction := pass_fraction([r.attempt.result.verdict for r in group])) is not None
        ]
        return curriculum.update(
            state,
            np.array([index for index, _ in moves], dtype=np.int64),
            np.array([fraction for _, fraction in moves], dtype=np.float32),
            self.config.curriculum,
        )

    def _check(self, metrics: Mapping[str, Any], number: int) -> None:
        bad = [k for k, v in metrics.items() if isinstance(v, float) and not math.isfinite(v)]
        if bad:
            raise FloatingPointError(
                f"iteration {number + 1}: {bad[0]} = {metrics[bad[0]]}; lower"
                " policy_optimizer.learning_rate or critic_optimizer.learning_rate"
            )
        gap, limit = metrics["logprob_gap"], self.config.sampling.max_logprob_gap
        if gap > limit:
            raise FloatingPointError(
                f"iteration {number + 1}: sampler and trainer differ by {gap:.4f} in mean"
                f" log-probability, more than sampling.max_logprob_gap = {limit}"
            )

    def _write(self, metrics: dict[str, Any], rollouts: Sequence[Rollout]) -> None:
        self.run.append("metrics", metrics)
        stride = max(1, len(rollouts) // SHOWN_ROLLOUTS)
        token_bytes = self.worker.sampler.token_bytes
        for rollout in rollouts[::stride][:SHOWN_ROLLOUTS]:
            attempt = rollout.attempt
            prefix = token_bytes.text(attempt.prompt.prefix)
            self.run.append(
                "samples",
                {
                    "step": metrics["step"],
                    "problem_id": attempt.problem.id,
                    "question": attempt.problem.question,
                    "prefix": prefix,
                    "response": attempt.program.text[len(prefix) :],
                    "verdict": attempt.result.verdict.value,
                    "reward": rollout.score,
                    "stage": rollout.stage,
                    "executed": [list(span) for span in attempt.result.covered or ()],
                },
            )
