"""Recipes: a run's configuration read strictly from YAML and command-line overrides."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args, get_origin

import draccus
import yaml

from stepcoder_jax.config import ConfigError, RunConfig

BASE = "base"


def load_config(path: Path, overrides: Sequence[str] = ()) -> RunConfig:
    """Reads a recipe.

    Args:
      path: YAML file with any subset of ``RunConfig``'s fields, and ``base``, the path from its
        folder of a recipe that gives the others; its ``run_dir`` must then be its own.
      overrides: ``["--ppo.epochs", "2", …]``, as on the command line.

    Raises:
      ConfigError: file missing, not YAML, its own base, unknown key, wrong type, or values that do
        not go together; the message names the field and the value.
    """
    data = _read_whole(path, ())
    for name, value in _pairs(overrides):
        _set(data, name, value)
    return decode_config(data, origin=str(path))


def _read_whole(path: Path, below: tuple[Path, ...]) -> dict[str, Any]:
    """A recipe's fields over those of its base, which must be a recipe that can be used by itself.

    ``below`` are the recipes that have this one as their base, and theirs.
    """
    if path.resolve() in below:
        chain = " -> ".join(map(str, (*below, path.resolve())))
        raise ConfigError(f"{path}: it is its own base: {chain}")
    data = _read(path, below)
    if BASE not in data:
        return data
    name = data.pop(BASE)
    if not isinstance(name, str):
        raise ConfigError(f"{path}: {BASE} = {name!r}: must be the path of another recipe")
    if "run_dir" not in data:
        raise ConfigError(f"{path}: run_dir is missing: a recipe with a base has its own")
    base_path = path.parent / name
    base = _read_whole(base_path, (*below, path.resolve()))
    decode_config(base, origin=str(base_path))
    return _merged(base, data, RunConfig)


def _read(path: Path, below: tuple[Path, ...]) -> dict[str, Any]:
    """The fields that a file itself gives."""
    if not path.is_file():
        named = f", which {below[-1]} has as its base," if below else ""
        raise ConfigError(f"config file {path}{named} does not exist")
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not YAML: {error}") from error
    if not isinstance(data, dict):
        raise ConfigError(f"{path}: a recipe is a mapping of fields, not {type(data).__name__}")
    return data


def _merged(base: dict[str, Any], data: dict[str, Any], record: Any) -> dict[str, Any]:
    """Fields over a base's: records are merged field by field, anything else is replaced."""
    types = {f.name: f.type for f in dataclasses.fields(record)}
    both = dict(base)
    for name, value in data.items():
        kind = types.get(name)
        is_record = dataclasses.is_dataclass(kind) and isinstance(value, dict)
        both[name] = _merged(base.get(name) or {}, value, kind) if is_record else value
    return both


def decode_config(data: dict[str, Any], *, origin: str) -> RunConfig:
    """Turns plain data into a ``RunConfig``; ``origin`` is named in errors."""
    _check_forms(data, RunConfig, (), origin)
    try:
        return draccus.decode(RunConfig, data)
    except draccus.utils.ParsingError as error:
        # A record's own check is the cause of what draccus raises.
        cause = error.__cause__ if isinstance(error.__cause__, ConfigError) else error
        raise ConfigError(f"{origin}: {cause}") from error


def _check_forms(data: dict[str, Any], record: Any, place: tuple[str, ...], origin: str) -> None:
    """Refuses a value that is no list where one is due, or no mapping, or nothing at all.

    The decoder would take a text for the list of its characters.
    """
    for field in dataclasses.fields(record):
        if field.name not in data:
            continue
        value, name = data[field.name], ".".join((*place, field.name))
        wanted = _wanted_form(field.type, value)
        if wanted is not None:
            raise ConfigError(f"{origin}: {name} = {value!r}: must be {wanted}")
        if dataclasses.is_dataclass(field.type):
            _check_forms(value, field.type, (*place, field.name), origin)


def _wanted_form(kind: Any, value: Any) -> str | None:
    """What a field should hold instead of a value of another form; None: the form is right."""
    if value is None:
        return None if type(None) in get_args(kind) else "given a value, or left out"
    if get_origin(kind) is tuple and not isinstance(value, list):
        return f"a list, such as [{value}]"
    if (dataclasses.is_dataclass(kind) or get_origin(kind) is dict) and not isinstance(value, dict):
        return "a mapping of names to values, such as {name: value}"
    return None


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
        if known is None and get_origin(record) is not dict:
            raise ConfigError(f"--{name}: {'.'.join((*parents, leaf)[:i])!r} has no fields")
        record = known[part] if known is not None else None
    for part in parents:
        data = data.setdefault(part, {})
    try:
        data[leaf] = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"--{name} {text!r}: not a YAML value") from error
