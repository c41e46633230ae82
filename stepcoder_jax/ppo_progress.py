"""Where the PPO phase stands between two iterations, and how that is saved."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Float

from stepcoder_jax import curriculum
from stepcoder_jax.checkpoint import CheckpointError, CheckpointStore
from stepcoder_jax.config import KLConfig, RunConfig
from stepcoder_jax.curriculum import CurriculumState
from stepcoder_jax.data.training_set import TrainingSet
from stepcoder_jax.experience import Collector, Experience
from stepcoder_jax.recipe_changes import fixed_fields
from stepcoder_jax.run_dir import RunDir
from stepcoder_jax.types import TrainState


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Where the phase stands between two iterations: with the seed, all that a resume needs.

    Attributes:
      iteration: iterations done; the order of problems and every random draw follow from it.
      skipped_steps: optimizer steps so far that were not finite.
      upcoming: the next batch, where it was made with the policy before the last update.
    """

    iteration: int
    state: TrainState
    curriculum: CurriculumState
    skipped_steps: int = 0
    upcoming: Experience | None = None


@dataclass(frozen=True, kw_only=True)
class ProgressFile:
    """Progress as a checkpoint: the state's arrays, and everything else as JSON beside them."""

    store: CheckpointStore
    run: RunDir
    collector: Collector
    config: RunConfig

    def save(self, progress: Progress) -> None:
        """Saves everything a resume needs."""
        arrays = curriculum.to_arrays(progress.curriculum)
        upcoming = progress.upcoming
        host = {
            "logs": self.run.marks(),
            "problems": _problems(self.collector.data),
            "curriculum": {name: array.tolist() for name, array in arrays.items()},
            "skipped_steps": progress.skipped_steps,
            "upcoming": None if upcoming is None else self.collector.to_json(upcoming),
            "recipe": _digest(fixed_fields(self.config)),
            "first_beta": self.config.kl.beta,
        }
        self.store.save(progress.iteration, progress.state, host)

    def restore(self, like: TrainState) -> Progress:
        """Takes up the newest checkpoint, and cuts the logs back to it.

        Raises:
          CheckpointError: it cannot be read, or is of another model or other problems.
        """
        check_problems(self.store, self.collector.data)
        restored = self.store.restore(like)
        host = restored.host
        arrays = {n: np.array(a) for n, a in host["curriculum"].items()}
        state = curriculum.from_arrays(arrays, self.collector.data.curricula)
        self.run.rewind(host["logs"])
        return Progress(
            iteration=restored.step,
            state=replace(
                restored.state,
                beta=beta_from_here(self.config.kl, restored.state.beta, host.get("first_beta")),
            ),
            curriculum=state,
            skipped_steps=host["skipped_steps"],
            upcoming=self._upcoming(host),
        )

    def _upcoming(self, host: Mapping[str, Any]) -> Experience | None:
        """The batch that was saved; another recipe makes its own."""
        if host["upcoming"] is None or host["recipe"] != _digest(fixed_fields(self.config)):
            return None
        return self.collector.from_json(host["upcoming"])


def beta_from_here(kl: KLConfig, saved: Float[Array, ""], first: float | None) -> Array:
    """The recipe's coefficient, unless the controller has moved that one to the saved one.

    Args:
      saved: of the checkpoint.
      first: what the recipe said when that was saved; None: the same.
    """
    if kl.controller == "adaptive" and first in (None, kl.beta):
        return saved
    return jax.device_put(np.float32(kl.beta), saved.sharding)


def check_problems(store: CheckpointStore, data: TrainingSet) -> None:
    """Sees whether the newest checkpoint's curriculum is that of these problems.

    Raises:
      CheckpointError: it is of others, or cannot be read.
    """
    if store.host()["problems"] != _problems(data):
        raise CheckpointError(
            f"{store.folder(store.latest or 0)} is of other problems, or of other stages of them:"
            " the state of a curriculum is by problem. Leave data, prompt, curriculum and the"
            " limits on lengths as they were, or give another run_dir"
        )


def _problems(data: TrainingSet) -> str:
    """Stands for the problems and their stages, in order."""
    return _digest([[c.problem_id, *c.prefixes] for c in data.curricula])


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()
