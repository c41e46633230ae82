"""A recipe under way: its data, its model and where it writes."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import jax
from stepcoder_executor import Executor

from stepcoder_jax.config import ConfigError, RunConfig
from stepcoder_jax.data.prompts import requirement
from stepcoder_jax.model.few_rows import require_products
from stepcoder_jax.model.load import require_there
from stepcoder_jax.origin import keep_origin
from stepcoder_jax.problem import Problem
from stepcoder_jax.processes import agree
from stepcoder_jax.progress import Display
from stepcoder_jax.run_data import RunData, load_run_data
from stepcoder_jax.run_dir import RunDir
from stepcoder_jax.sharding import make_mesh
from stepcoder_jax.some_names import some_names
from stepcoder_jax.starting_model import starting_model
from stepcoder_jax.stop import StopRequest
from stepcoder_jax.types import Params
from stepcoder_jax.workshop import Workshop

# What each use of randomness folds into the run's key.
SFT_KEY, PPO_KEY, EVAL_KEY, LORA_KEY = 0, 1, 2, 3


@dataclass(frozen=True, kw_only=True)
class Run:
    """A recipe under way: what every phase needs.

    Attributes:
      frozen: with LoRA the starting model's parameters, on the mesh; None where they are trained.
    """

    config: RunConfig
    folder: RunDir
    display: Display
    stop: StopRequest
    client: Executor
    data: RunData
    workshop: Workshop
    frozen: Params | None

    def key(self, use: int) -> jax.Array:
        """The root of one use of randomness."""
        return jax.random.fold_in(jax.random.key(self.config.seed), use)


def prepare(
    config: RunConfig, folder: RunDir, client: Executor, display: Display, stop: StopRequest
) -> Run:
    """Loads data and model, and checks that they go together, before any long work."""
    display.say(f"run {config.run_dir}  ·  executor isolation: {client.isolation}")
    if config.rollout.staleness and jax.process_count() > 1:
        raise ConfigError(
            f"rollout.staleness = 1 with {jax.process_count()} processes: 0, as all of them must"
            " run the same programs in the same order, and two threads have none"
        )
    # Before every solution is run.
    require_products(config.sampling.products)
    if config.model.path is not None:
        require_there(Path(config.model.path))
    data = load_run_data(config, folder, client, display)
    agree("the problems that they have read", lambda: _content(data))
    texts = [
        text
        for p in (*data.problems, *data.demonstrations)
        for text in (requirement(p, config.prompt.shown_tests), p.canonical_solution or "")
    ]
    model = starting_model(
        config.model,
        mesh=make_mesh(config.mesh),
        texts=texts,
        tokenizer_dir=folder.tokenizer,
        seed=config.seed,
    )
    keep_origin(folder, config.model.path, model.params)
    workshop = Workshop.of(config, model)
    for remark in workshop.remarks:
        display.say(remark)
    return Run(
        config=config,
        folder=folder,
        display=display,
        stop=stop,
        client=client,
        data=data,
        workshop=workshop,
        frozen=workshop.place_policy(model.params) if config.lora.rank else None,
    )


def _content(data: RunData) -> dict[str, str]:
    """What stands for the problems of a run, set by set, in their order."""
    named: dict[str, Sequence[Problem]] = {
        "data.train": data.problems,
        "demonstrations": data.demonstrations,
        **{f"data.evaluate.{label}": problems for label, problems in data.evaluations.items()},
    }
    return {
        name: hashlib.sha256(repr(problems).encode()).hexdigest()
        for name, problems in named.items()
    }


def say_left_out(run: Run, reason: str, ids: Sequence[str]) -> None:
    """Tells how many of the run's problems cannot be used, which, and why."""
    if ids:
        run.display.say(f"{len(ids)} problems: {reason}: {some_names(ids)}")
