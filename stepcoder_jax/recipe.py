"""Recipes: a run's configuration read strictly from YAML and command-line overrides."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import draccus
import yaml

from stepcoder_jax.config import ConfigError, RunConfig


def load_config(path: Path, overrides: Sequence[str] = ()) -> RunConfig:
    """Reads a recipe.

    Args:
      path: YAML file with any subset of ``RunConfig``'s fields.
      overrides: ``["--ppo.epochs", "2", …]``, as on the command line.

    Raises:
      ConfigError: file missing, not YAML, unknown key, wrong type, or values that do not go
        together; the message names the field and the value.
    """
    if not path.is_file():
        raise ConfigError(f"config file {path} does not exist")
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not YAML: {error}") from error
    if not isinstance(data, dict):
        raise ConfigError(f"{path}: a recipe is a mapping of fields, not {type(data).__name__}")
    for name, value in _pairs(overrides):
        _set(data, name, value)
    return decode_config(data, origin=str(path))


def decode_config(data: dict[str, Any], *, origin: str) -> RunConfig:
    """Turns plain data into a ``RunConfig``; ``origin`` is named in errors."""
    try:
        return draccus.decode(RunConfig, data)
    except draccus.utils.ParsingError as error:
        # A record's own check is the cause of what draccus raises.
        cause = error.__cause__ if isinstance(error.__cause__, ConfigError) else error
        raise ConfigError(f"{origin}: {cause}") from error


def override(config: RunConfig, overrides: Sequence[str]) -> RunConfig:
    """The recipe with some fields replaced, ``["--eval.samples", "4", …]``."""
    data = yaml.safe_load(encode_config(config))
    for name, value in _pairs(overrides):
        _set(data, name, value)
    return decode_config(data, origin="command line")


def encode_config(config: RunConfig) -> str:
    """The configuration in full, as YAML: what a run directory keeps."""
    return yaml.safe_dump(draccus.encode(config), sort_keys=False)


def _pairs(overrides: Sequence[str]) -> list[tuple[str, str]]:
    pairs: list[tuple[str, str]] = []
    rest = list(overrides)
    while rest:
        flag = rest.pop(0)
        if not flag.startswith("--"):
            raise ConfigError(f"{flag!r}: an override looks like --ppo.epochs 2")
        name, equals, value = flag[2:].partition("=")
        if not equals:
            if not rest:
                raise ConfigError(f"{flag}: its value is missing")
            value = rest.pop(0)
        pairs.append((name, value))
    return pairs


def _set(data: dict[str, Any], name: str, text: str) -> None:
    """Puts a dotted override into plain data, after checking that the field exists."""
    record: Any = RunConfig
    *parents, leaf = name.split(".")
    for i, part in enumerate(name.split(".")):
        known = (
            {f.name: f.type for f in dataclasses.fields(record)}
            if (dataclasses.is_dataclass(record))
            else None
        )
        if known is not None and part not in known:
            raise ConfigError(
                f"--{name}: there is no field {'.'.join(name.split('.')[: i + 1])!r};"
                f" there are {', '.join(known)}"
            )
        record = known[part] if known is not None else None
    for part in parents:
        data = data.setdefault(part, {})
    try:
        data[leaf] = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"--{name} {text!r}: not a YAML value") from error
