"""``stepcoder eval --model``: a model that exists already, on a problem set."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
from stepcoder_executor import Executor

from stepcoder_jax.config import RunConfig
from stepcoder_jax.data.problems import ProblemError
from stepcoder_jax.data.sources import load_problems
from stepcoder_jax.eval_record import (
    Preflight,
    conditions,
    file_hashes,
    make_place,
    preflight,
    verdict_row,
    write_record,
)
from stepcoder_jax.eval_styles import STYLES
from stepcoder_jax.evaluate import Evaluation, evaluate
from stepcoder_jax.executor_session import executor
from stepcoder_jax.model.serving import serving_params
from stepcoder_jax.progress import Display
from stepcoder_jax.recipe import override
from stepcoder_jax.samples_file import write_samples
from stepcoder_jax.scorecard import markdown_row
from stepcoder_jax.some_names import some_names
from stepcoder_jax.stop import stop_on_signals
from stepcoder_jax.trained import Trained, find_model
from stepcoder_jax.types import Params, Problem
from stepcoder_jax.workshop import Workshop


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What the command line asks for.

    Attributes:
      samples, k: in place of the recipe's; ``k`` alone raises ``samples`` to its largest.
      style: of ``STYLES``, in place of the recipe's prompts.
      overrides: more fields of the recipe.
    """

    samples: int | None
    k: Sequence[int] | None
    style: str | None
    overrides: Sequence[str]

    def of(self, config: RunConfig) -> RunConfig:
        """The recipe as changed."""
        if self.style is not None:
            config = replace(config, prompt=STYLES[self.style])
        wanted = tuple(self.k) if self.k else config.eval.k if self.samples is None else (1,)
        number = self.samples or max(*wanted, config.eval.samples)
        flags = [f"--eval.k={list(wanted)}", f"--eval.samples={number}"]
        return override(config, [*flags, *self.overrides])


def evaluate_model(
    path: Path,
    problems_name: str,
    *,
    wanted: Wanted,
    count: int | None,
    config_file: Path | None,
    out: Path | None,
    save_samples: Path | None,
) -> dict[str, Any]:
    """Evaluates a model on a problem set.

    Args:
      count: take only the first problems.
      out: where to write the record; None: nowhere.
      save_samples: where to write the programs, as evalplus reads them; None: nowhere.

    Returns:
      The contract's fields; ``left_out`` (problems whose prompt does not fit, which count as not
      solved), ``preflight`` and ``markdown``.

    Raises:
      ModelLoadError, ProblemError, ConfigError: what is wrong with what was named.
    """
    make_place("--out", out)
    make_place("--save-samples", save_samples)
    trained = find_model(path, config_file, wanted.of)
    config = trained.config
    data = config.data
    problems = load_problems(
        problems_name, manual_dir=data.manual_dir, data_dir=data.data_dir, count=count
    )
    if not problems:
        raise ProblemError(f"--problems {problems_name}: no problem")
    display = Display()
    with stop_on_signals() as stop, executor(config.executor) as client:
        checked = preflight(problems, client, config.executor)
        for line in checked.lines():
            display.say(line)
        done = _sample(trained, checked, client, stop.check, display)
        facts = conditions(config, problems, client)
    if done.left_out:
        count_and_limit = f"{len(done.left_out)} prompts longer than {config.longest_prompt} tokens"
        display.say(f"{count_and_limit}, not solved: {some_names(done.left_out)}")
    found = {
        "model": str(path),
        "problems_from": problems_name,
        **done.to_json(),
        "preflight": checked.to_json(),
        "markdown": markdown_row(f"{path.name} on {problems_name}", done.card),
    }
    if save_samples is not None:
        write_samples(save_samples, [(a.problem.id, a.program.text) for a in done.attempts])
    if out is not None:
        rows = [verdict_row(a.problem.id, a.result) for a in done.attempts]
        hashes = {"model_sha256": file_hashes(path)}
        write_record(out, {**found, **facts, **hashes, "programs": rows})
    return found


def _sample(
    trained: Trained,
    checked: Preflight,
    client: Executor,
    check: Callable[[], None],
    display: Display,
) -> Evaluation:
    """Samples the model on the problems that count, and judges what it says."""
    config = trained.config
    workshop = Workshop.of(config, trained.model)
    problems: tuple[Problem, ...] = checked.problems
    worker = workshop.worker(client, check, config.eval)
    for remark in workshop.remarks:
        display.say(remark)
    display.say(
        f"evaluating {len(problems)} problems × {config.eval.samples} samples  ·  executor"
        f" isolation: {client.isolation}"
    )
    with jax.set_mesh(workshop.mesh):
        placed = workshop.place_policy(trained.model.params)
        params: Params = serving_params(placed, dtype=config.model.dtype)
        return evaluate(
            worker,
            workshop.builder,
            params,
            problems,
            jax.random.key(config.seed),
            config.eval,
            display,
            title="evaluate",
            longest_prompt=config.longest_prompt,
        )
