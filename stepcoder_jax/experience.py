"""The experience of one iteration: which problems, at which stages, and what became of them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import jax
import numpy as np
from jaxtyping import Bool, Int, PRNGKeyArray
from stepcoder_executor import parse_result, result_to_json

from stepcoder_jax.config import RunConfig
from stepcoder_jax.curriculum import CurriculumState, mixed_problems
from stepcoder_jax.data.order import Order, problem_order
from stepcoder_jax.data.training_set import TrainingSet
from stepcoder_jax.sharding import Mesh
from stepcoder_jax.types import Params, Prompt, Sample
from stepcoder_jax.worker import Attempt, Attempts, Worker, row_keys


@dataclass(frozen=True, kw_only=True)
class Task:
    """What an iteration is to sample: fixed before any of it is.

    Attributes:
      iteration: whose batch it is, from 0; row keys follow from it.
      indices: rows of the training set.
      stages: of each of them: the curriculum's when the task was set, or 0 where
      is_mixed: begins at the start whatever its stage is, and does not move it.
    """

    iteration: int
    indices: Int[np.ndarray, " problems"]
    stages: Int[np.ndarray, " problems"]
    is_mixed: Bool[np.ndarray, " problems"]


@dataclass(frozen=True, kw_only=True)
class Experience:
    """A task that has been sampled and judged.

    Attributes:
      is_stale: the policy has been updated since the one that sampled.
      hidden_s: seconds of the work that passed while the batch before was trained on.
    """

    task: Task
    attempts: Attempts
    is_stale: bool = False
    hidden_s: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Collector:
    """Sets tasks and carries them out.

    Attributes:
      key: of the PPO phase; rows draw from what is folded out of it.
    """

    config: RunConfig
    worker: Worker
    data: TrainingSet
    key: PRNGKeyArray
    mesh: Mesh

    def task(self, iteration: int, state: CurriculumState) -> Task:
        """The problems that come next, at the stages where they stand."""
        count, seed = self.config.rollout.problems, self.config.seed
        indices = self._order.take(iteration * count, count)
        mix = self.config.curriculum.mix
        is_mixed = mixed_problems(count, mix, seed=seed, iteration=iteration)
        return Task(
            iteration=iteration,
            indices=indices,
            stages=np.where(is_mixed, 0, state.stage[indices]),
            is_mixed=is_mixed,
        )

    @cached_property
    def _order(self) -> Order:
        statements = [c.statements for c in self.data.curricula]
        return problem_order(self.config.data.weighting, statements, seed=self.config.seed)

    def collect(
        self, task: Task, served: Params, check: Callable[[], None] | None = None
    ) -> Experience:
        """Samples and judges a task's programs.

        Args:
          served: the policy, arranged for serving; nothing here donates or keeps it.
          check: in place of the worker's own.
        """
        worker = self.worker if check is None else replace(self.worker, check=check)
        rows = self.config.rows
        # Of the thread that calls: a mesh set on another one is not seen here.
        with jax.set_mesh(self.mesh):
            attempts = worker.attempt(
                served,
                [self.data.problems[i] for i in task.indices],
                self._prompts(task),
                row_keys(jax.random.fold_in(self.key, 0), task.iteration * rows, rows),
                samples=self.config.rollout.samples,
                coverage=True,
                progress=lambda _: None,
            )
        return Experience(task=task, attempts=attempts)

    def to_json(self, experience: Experience) -> dict[str, Any]:
        """What cannot be computed again, floats exactly: for a checkpoint."""
        task, attempts = experience.task, experience.attempts
        return {
            "iteration": task.iteration,
            "indices": task.indices.tolist(),
            "stages": task.stages.tolist(),
            "is_mixed": task.is_mixed.tolist(),
            "is_stale": experience.is_stale,
            "hidden_s": experience.hidden_s,
            "generate_s": attempts.generate_s,
            "wait_s": attempts.wait_s,
            "executor_hidden_fraction": attempts.executor_hidden_fraction,
            "rows": [
                {
                    "tokens": row.sample.tokens,
                    "logprobs": row.sample.logprobs,
                    "stopped": row.sample.stopped,
                    "result": result_to_json(row.result),
                }
                for row in attempts.rows
            ],
        }

    def from_json(self, saved: Mapping[str, Any]) -> Experience:
        """Reads back what ``to_json`` wrote; prompts and programs follow from the task."""
        task = Task(
            iteration=saved["iteration"],
            indices=np.array(saved["indices"], np.int64),
            stages=np.array(saved["stages"], np.int32),
            is_mixed=np.array(saved["is_mixed"], bool),
        )
        prompts, samples = self._prompts(task), self.config.rollout.samples
        return Experience(
            task=task,
            attempts=Attempts(
                rows=tuple(
                    self._attempt(row, int(task.indices[i // samples]), prompts[i // samples])
                    for i, row in enumerate(saved["rows"])
                ),
                generate_s=saved["generate_s"],
                wait_s=saved["wait_s"],
                executor_hidden_fraction=saved["executor_hidden_fraction"],
            ),
            is_stale=saved["is_stale"],
            hidden_s=saved["hidden_s"],
        )

    def _attempt(self, saved: Mapping[str, Any], index: int, prompt: Prompt) -> Attempt:
        sample = Sample(
            tokens=tuple(saved["tokens"]),
            logprobs=tuple(saved["logprobs"]),
            stopped=saved["stopped"],
        )
        return Attempt(
            problem=self.data.problems[index],
            prompt=prompt,
            sample=sample,
            program=self.worker.program_of(prompt, sample),
            result=parse_result(saved["result"]),
        )

    def _prompts(self, task: Task) -> list[Prompt]:
        pairs = zip(task.indices, task.stages, strict=True)
        return [self.data.prompts[i][stage] for i, stage in pairs]
