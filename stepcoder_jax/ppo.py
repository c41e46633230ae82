"""The PPO phase: the host loop of iterations, and what it saves."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any

import jax
import numpy as np

from stepcoder_jax import curriculum
from stepcoder_jax.background import Check, in_background
from stepcoder_jax.checkpoint import CheckpointStore
from stepcoder_jax.config import RunConfig
from stepcoder_jax.curriculum import CurriculumState
from stepcoder_jax.experience import Collector, Experience
from stepcoder_jax.model.lora import policy_to_serve
from stepcoder_jax.nonfinite import finite_or_none
from stepcoder_jax.ppo_metrics import facts, rollout_metrics, seconds_of, shown_rollouts
from stepcoder_jax.ppo_progress import Progress, ProgressFile
from stepcoder_jax.processes import agree
from stepcoder_jax.progress import Display
from stepcoder_jax.reward_function import Judge
from stepcoder_jax.rewards import pass_fraction
from stepcoder_jax.rollout import Rollout, fingerprints, make_rollout
from stepcoder_jax.run_dir import RunDir
from stepcoder_jax.stop import Interrupted
from stepcoder_jax.trainer import Scored, Trainer
from stepcoder_jax.types import Params


@dataclass(frozen=True, kw_only=True)
class PPOPhase:
    """Everything about the phase that does not change from iteration to iteration.

    Attributes:
      judge: the recipe's reward function.
      check: raises ``Interrupted`` if a stop was asked for.
    """

    config: RunConfig
    collector: Collector
    trainer: Trainer
    judge: Judge
    run: RunDir
    display: Display
    check: Check

    def train(self, progress: Progress, store: CheckpointStore) -> Progress:
        """Runs the iterations that are left and saves the last one.

        Raises:
          Interrupted: a stop was asked for; what was done before the iteration is saved.
          FloatingPointError: a step is not finite, or sampler and trainer disagree.
        """
        total, done = self.config.iterations, progress.iteration
        with self.display.phase("ppo", total, done) as meter:
            while progress.iteration < total:
                try:
                    progress, metrics = self.iterate(progress)
                except Interrupted:
                    self.progress_file(store).save(progress)
                    store.wait()
                    raise
                meter(progress.iteration, facts(metrics))
                due = progress.iteration % self.config.checkpoint.every == 0
                if due or progress.iteration == total:
                    self.progress_file(store).save(progress)
        store.wait()
        return progress

    def progress_file(self, store: CheckpointStore) -> ProgressFile:
        """How the phase's progress lies in a store."""
        return ProgressFile(store=store, run=self.run, collector=self.collector, config=self.config)

    def iterate(self, progress: Progress) -> tuple[Progress, dict[str, Any]]:
        """One iteration: sample, execute, score, update, move the curriculum."""
        number = progress.iteration
        experience = self._experience(progress)
        with self._begin_next(progress) as next_experience:
            rollouts = self._judge(experience)
            started = time.monotonic()
            scored = self.trainer.score(progress.state, rollouts, number)
            jax.block_until_ready(scored.batch)
            self._check_gap(scored, experience)
            scored_at = time.monotonic()
            updated = self.trainer.update(progress.state, scored, number, progress.skipped_steps)
            updated_at = time.monotonic()
            upcoming = next_experience()
        moved = self._move(progress.curriculum, experience, rollouts)
        if updated.empty:
            self.display.say(
                f"iteration {number + 1}: {updated.empty} optimizer steps not taken, as none of"
                " their tokens is trained (dropped in the executor, or masked)"
            )
        metrics = {
            "phase": "ppo",
            "step": number + 1,
            **rollout_metrics(rollouts, experience.task.stages),
            "stage_histogram": curriculum.stage_histogram(moved).tolist(),
            **{n: float(value) for n, value in asdict(scored.stats).items() if value is not None},
            **updated.stats,
            "skipped_steps": updated.skipped,
            "empty_steps": updated.empty,
            **seconds_of(experience, score=scored_at - started, update=updated_at - scored_at),
        }
        self._write(finite_or_none(metrics), rollouts)
        after = Progress(
            iteration=number + 1,
            state=updated.state,
            curriculum=moved,
            skipped_steps=updated.skipped,
            upcoming=upcoming,
        )
        return after, metrics

    def _experience(self, progress: Progress) -> Experience:
        """The batch to train on: the one that was made beside the last, or a fresh one."""
        if progress.upcoming is not None:
            self.check()
            return progress.upcoming
        task = self.collector.task(progress.iteration, progress.curriculum)
        return self.collector.collect(task, self._served(progress), self.check)

    @contextmanager
    def _begin_next(self, progress: Progress) -> Iterator[Callable[[], Experience | None]]:
        """Makes the next batch while the block runs, with the policy as it is when that begins.

        Yields what waits for it. Once the block updates the policy, the batch cannot be made again
        from what is left: a stop that is asked for meanwhile waits for it, too.
        """
        following = progress.iteration + 1
        if self.config.rollout.staleness == 0 or following >= self.config.iterations:
            yield lambda: None
            return
        task = self.collector.task(following, progress.curriculum)
        # A copy: the update donates the policy itself.
        served = self._served(progress)
        with in_background(lambda check: self.collector.collect(task, served, check)) as future:

            def wait() -> Experience:
                began = time.monotonic()
                made = future.result()
                waited = time.monotonic() - began
                took = made.attempts.generate_s + made.attempts.wait_s
                return replace(made, is_stale=True, hidden_s=max(took - waited, 0.0))

            yield wait

    def _served(self, progress: Progress) -> Params:
        return policy_to_serve(
            progress.state.policy,
            self.trainer.frozen,
            lora=self.config.lora,
            dtype=self.config.model.dtype,
        )

    def _judge(self, experience: Experience) -> list[Rollout]:
        task, samples = experience.task, self.config.rollout.samples
        rng = np.random.default_rng([self.config.seed, task.iteration])
        rollouts = [
            make_rollout(
                attempt,
                problem_index=int(task.indices[row // samples]),
                stage=int(task.stages[row // samples]),
                moves_stage=not task.is_mixed[row // samples],
                judge=self.judge,
                fgo=self.config.fgo,
                rng=rng,
            )
            for row, attempt in enumerate(experience.attempts.rows)
        ]
        # From here on each process places its own part of the batch: nothing would show it.
        agree(
            f"the rollouts of iteration {task.iteration + 1}",
            lambda: fingerprints(rollouts),
            "A reward function must answer alike on every host",
        )
        return rollouts

    def _move(
        self, state: CurriculumState, experience: Experience, rollouts: Sequence[Rollout]
    ) -> CurriculumState:
        """Moves the problems that were tried at the stage where they still stood."""
        samples = self.config.rollout.samples
        groups = [rollouts[i : i + samples] for i in range(0, len(rollouts), samples)]
        stands = state.stage[experience.task.indices] == experience.task.stages
        moves = [
            (group[0].problem_index, fraction)
            for group, is_there in zip(groups, stands, strict=True)
            if is_there
            and group[0].moves_stage
            and (fraction := pass_fraction([r.attempt.result.verdict for r in group])) is not None
        ]
        return curriculum.update(
            state,
            np.array([index for index, _ in moves], dtype=np.int64),
            np.array([fraction for _, fraction in moves], dtype=np.float32),
            self.config.curriculum,
        )

    def _check_gap(self, scored: Scored, experience: Experience) -> None:
        """Sampler and trainer must agree on a policy that both have: on fresh batches.

        What is not finite is written out, and stops the run or is skipped, in ``Trainer.update``.
        """
        gap, limit = float(scored.stats.logprob_gap), self.config.sampling.max_logprob_gap
        if gap > limit and scored.broken is None and not experience.is_stale:
            is_wide = self.config.model.dtype == "float32"
            remedy = "raise it" if is_wide else "raise it, or set model.dtype = float32"
            raise FloatingPointError(
                f"iteration {experience.task.iteration + 1}: sampler and trainer differ by"
                f" {gap:.2g} in mean log-probability, more than sampling.max_logprob_gap = {limit}:"
                f" {remedy}"
            )

    def _write(self, metrics: dict[str, Any], rollouts: Sequence[Rollout]) -> None:
        self.run.append("metrics", metrics)
        for row in shown_rollouts(rollouts, self.collector.worker.sampler.token_bytes):
            self.run.append("samples", {"step": metrics["step"], **finite_or_none(row)})
