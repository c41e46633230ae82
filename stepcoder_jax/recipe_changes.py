"""What of a recipe may differ when its run is taken up again, and what differs."""

from collections.abc import Iterator
from typing import Any

import yaml

from stepcoder_jax.config import RunConfig
from stepcoder_jax.recipe import encode_config

# Length of the run, checkpoint habits, and the place of model and executor: what an iteration
# computes does not depend on them, but for how it is rounded, and for a learning rate that decays
# until the last.
FREE = (
    "run_dir",
    "iterations",
    "checkpoint",
    "mesh",
    "sampling.products",
    "distributed",
    "executor.backend",
    "executor.ray_address",
    "executor.slots",
)
# What may differ between the processes of a run.
OWN = (
    "distributed",
    "data.manual_dir",
    "data.data_dir",
    "executor.ray_address",
    "executor.slots",
)
# What the numbers of any checkpoint are added to, or began from.
FOUNDATION = (
    "seed",
    "model.path",
    "model.shape",
    "model.vocab_size",
    "model.split_digits",
    "lora",
)
# What PPO began from.
BEFORE_PPO = ("sft", "data.demonstrations", "data.demonstrations_count")


def fixed_fields(config: RunConfig) -> dict[str, Any]:
    """Every field that may not differ without being asked for: dotted name -> plain value."""
    return _without(config, FREE)


def shared_fields(config: RunConfig) -> dict[str, Any]:
    """Every field that must be the same in all processes of a run, as ``fixed_fields``."""
    return _without(config, OWN)


def recipe_changes(saved: RunConfig, wanted: RunConfig) -> dict[str, str]:
    """Fields that differ: dotted name -> ``name: old → new``."""
    old, new = fixed_fields(saved), fixed_fields(wanted)
    names = [name for name in {**old, **new} if old.get(name) != new.get(name)]
    return {name: f"{name}: {_show(old, name)} → {_show(new, name)}" for name in names}


def is_among(name: str, fields: tuple[str, ...]) -> bool:
    """Whether a dotted name is one of some fields, or inside one that is a record."""
    return any(name == field or name.startswith(f"{field}.") for field in fields)


def _without(config: RunConfig, names: tuple[str, ...]) -> dict[str, Any]:
    every = dict(_flat("", yaml.safe_load(encode_config(config))))
    return {name: value for name, value in every.items() if not is_among(name, names)}


def _flat(prefix: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _flat(f"{prefix}.{name}" if prefix else str(name), inner)
    else:
        yield prefix, value


def _show(fields: dict[str, Any], name: str) -> str:
    return repr(fields[name]) if name in fields else "nothing"
