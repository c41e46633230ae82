"""The problems of a run: what SFT imitates, what PPO trains on, what both are evaluated on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stepcoder_executor import Executor

from stepcoder_jax.config import ConfigError, RunConfig
from stepcoder_jax.data.sources import load_problems
from stepcoder_jax.problem import Problem
from stepcoder_jax.processes import is_own, share
from stepcoder_jax.progress import Display
from stepcoder_jax.run_dir import VERIFIED, RunDir
from stepcoder_jax.verify import verify


@dataclass(frozen=True, kw_only=True)
class RunData:
    """All problems that a recipe names.

    Attributes:
      problems: PPO's; those whose canonical solution fails its own tests have been dropped.
      demonstrations: SFT's, imitated as they are; the same where the recipe names no others.
      evaluations: label -> problems.
      reference_s: problem id -> seconds of the slowest test of its solution, where it was run.
    """

    problems: tuple[Problem, ...]
    demonstrations: tuple[Problem, ...]
    evaluations: Mapping[str, Sequence[Problem]]
    reference_s: Mapping[str, float]


def load_run_data(config: RunConfig, folder: RunDir, client: Executor, display: Display) -> RunData:
    """Loads everything that the recipe names, and runs the solutions of PPO's problems.

    Raises:
      ConfigError: a set has no problem of the levels wanted.
      ProblemError: a set cannot be read.
      RuntimeError: the executor could not judge a solution.
    """
    data = config.data
    loaded = _load(config, data.train, data.train_count, seed=config.seed)
    dropped, reference_s = _verified(config, folder, client, loaded)
    if dropped:
        display.say(
            f"{len(dropped)} of {len(loaded)} training problems dropped: their canonical solution"
            f" fails its own tests ({folder.path / VERIFIED})"
        )
    problems = tuple(p for p in loaded if p.id not in dropped)
    demonstrations = problems
    if data.demonstrations is not None:
        count = data.demonstrations_count
        demonstrations = tuple(_load(config, data.demonstrations, count, seed=config.seed))
    return RunData(
        problems=problems,
        demonstrations=demonstrations,
        evaluations={
            label: _load(config, name, data.evaluate_count) for label, name in data.evaluate.items()
        },
        reference_s=reference_s,
    )


def _load(config: RunConfig, name: str, count: int | None, seed: int = 0) -> list[Problem]:
    data = config.data
    problems = load_problems(
        name,
        manual_dir=data.manual_dir,
        data_dir=data.data_dir,
        count=count,
        seed=seed,
        difficulties=data.difficulties,
    )
    if not problems:
        wanted = ", ".join(data.difficulties)
        raise ConfigError(f"{name!r} has no problem of data.difficulties = {wanted}")
    return problems


def _verified(
    config: RunConfig, folder: RunDir, client: Executor, problems: Sequence[Problem]
) -> tuple[Mapping[str, str], Mapping[str, float]]:
    """What is dropped and why, and times; decided once in a run, so that a resume sees the same."""
    if not config.data.verify:
        return {}, {}
    known = folder.read_json(VERIFIED)
    if known is None:
        parts = share(lambda: _verify_own(config, client, problems))
        known = {
            name: {key: value for part in parts for key, value in part[name].items()}
            for name in ("dropped", "reference_s")
        }
        folder.write_json(VERIFIED, known)
    return known["dropped"], known["reference_s"]


def _verify_own(
    config: RunConfig, client: Executor, problems: Sequence[Problem]
) -> dict[str, dict[str, Any]]:
    own = [problem for number, problem in enumerate(problems) if is_own(number)]
    found = verify(own, client, config.executor)
    return {"dropped": found.dropped, "reference_s": found.reference_s}
