"""What happens to a step that is not finite: it is written out, and stops the run or is skipped."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from stepcoder_jax.config import PPOConfig, RunConfig
from stepcoder_jax.placement import fetch
from stepcoder_jax.processes import is_first
from stepcoder_jax.recipe import encode_config
from stepcoder_jax.types import TrainBatch

FOLDER = "nonfinite"
SCORING = "scoring"


@dataclass(frozen=True, kw_only=True)
class BrokenStep:
    """Where a number that is not finite was found.

    Attributes:
      iteration: from 1.
      step: optimizer step of the iteration, from 1; ``scoring`` where none had been taken.
      statistic: its name.
      value: what it was, as text.
      problem_ids: of the rows of the batch.
    """

    iteration: int
    step: int | str
    statistic: str
    value: str
    problem_ids: tuple[str, ...]


def broken_statistic(
    stats: Mapping[str, float | np.ndarray | np.generic | None],
) -> tuple[str, str] | None:
    """Name and value of the first statistic that is not finite; None where all is well.

    Where there are statistics named ``…is_finite``, these decide: with all of them True the step
    was taken, whatever another says.
    """
    known = {name: value for name, value in stats.items() if value is not None}
    flags = {name: value for name, value in known.items() if name.endswith("is_finite")}
    if flags and all(np.all(value) for value in flags.values()):
        return None
    numbers = {name: value for name, value in known.items() if name not in flags}
    broken = {name: value for name, value in numbers.items() if not np.all(np.isfinite(value))}
    broken |= {name: value for name, value in flags.items() if not np.all(value)}
    return next(((name, str(value)) for name, value in broken.items()), None)


def dump(run_dir: Path, broken: BrokenStep, batch: TrainBatch, config: RunConfig) -> Path:
    """Writes everything that the step was computed from, save the models, and returns the folder.

    ``batch.npz`` the arrays of ``TrainBatch`` · ``step.json`` · ``config.yaml``. A run that comes
    to the same step again writes the same folder again.
    """
    folder = run_dir / FOLDER / f"{broken.iteration}-{broken.step}"
    arrays = {name: x for name, x in fetch(vars(batch)).items() if x is not None}
    if not is_first():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(folder / "batch.npz", allow_pickle=False, **arrays)
    (folder / "step.json").write_text(json.dumps(asdict(broken), indent=1), encoding="utf-8")
    (folder / "config.yaml").write_text(encode_config(config), encoding="utf-8")
    return folder


def stop_or_skip(broken: BrokenStep, folder: Path, skipped: int, ppo: PPOConfig) -> str:
    """What is said of a skipped step.

    Args:
      skipped: skipped steps of the run, this one included.

    Raises:
      FloatingPointError: the recipe stops at such a step, or has skipped enough of them.
    """
    found = (
        f"iteration {broken.iteration}, step {broken.step}: {broken.statistic} = {broken.value}"
        f" (batch, step and recipe are in {folder})"
    )
    lower = "lower policy_optimizer.learning_rate or critic_optimizer.learning_rate"
    on = "and go on from the last checkpoint with --allow-changes"
    if ppo.on_nonfinite == "stop":
        raise FloatingPointError(f"{found}; {lower}, or set ppo.on_nonfinite = skip, {on}")
    if skipped > ppo.max_skipped:
        raise FloatingPointError(
            f"{found}; {skipped} steps have been skipped, more than ppo.max_skipped ="
            f" {ppo.max_skipped}: {lower}, {on}"
        )
    return f"{found}; skipped ({skipped} of at most {ppo.max_skipped})"


def finite_or_none[T](row: Mapping[str, T]) -> dict[str, T | None]:
    """A row of a log without NaN and infinity, which JSON does not have."""
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in row.items()
    }
