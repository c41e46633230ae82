"""Rope in ``config.json``: the newer nested form and the older flat one, read and checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any

from stepcoder_jax.model.metadata_values import mapping, positive_number, whole_number
from stepcoder_jax.model.rope_frequencies import LinearRope, Llama3Rope, RopeScaling

_RECORDS: Mapping[str, type[LinearRope | Llama3Rope]] = {
    "linear": LinearRope,
    "llama3": Llama3Rope,
}


def read(hf: Mapping[str, Any]) -> tuple[float, RopeScaling | None]:
    """Return base and scaling.

    Raises:
        ValueError: naming the option, its value and what is allowed.
    """
    rope = _rope(hf)
    return _theta(rope, hf), _read_scaling(rope)


def _rope(hf: Mapping[str, Any]) -> Mapping[str, Any]:
    nested, flat = (mapping(key, hf.get(key)) for key in ("rope_parameters", "rope_scaling"))
    if nested and flat and nested != flat:
        raise ValueError(
            f"rope_scaling = {flat!r} and rope_parameters = {nested!r} contradict each other; "
            "remove one of them"
        )
    return nested or flat


def _theta(rope: Mapping[str, Any], hf: Mapping[str, Any]) -> float:
    value = rope["rope_theta"] if "rope_theta" in rope else hf.get("rope_theta", 10_000.0)
    return float(positive_number("rope_theta", value))


def _read_scaling(rope: Mapping[str, Any]) -> RopeScaling | None:
    options = {k: v for k, v in rope.items() if k not in ("type", "rope_type", "rope_theta")}
    kind = rope.get("rope_type", rope.get("type", "default"))
    if kind == "default" and not options:
        return None
    if not isinstance(kind, str) or kind not in _RECORDS:
        raise ValueError(
            f"rope scaling {kind!r} with {options!r} is not supported; "
            "allowed: default (no options), linear, llama3"
        )
    expected = {field.name for field in fields(_RECORDS[kind])}
    if options.keys() != expected:
        raise ValueError(
            f"rope scaling {kind!r} with {options!r} is not supported; "
            f"its options are {', '.join(sorted(expected))}"
        )
    _check_scaling(kind, options)
    return _RECORDS[kind](**options)


def _check_scaling(kind: str, options: Mapping[str, Any]) -> None:
    for name, value in options.items():
        is_size = name == "original_max_position_embeddings"
        (whole_number if is_size else positive_number)(f"rope scaling {kind!r}: {name}", value)
    if kind == "llama3" and options["low_freq_factor"] >= options["high_freq_factor"]:
        low, high = options["low_freq_factor"], options["high_freq_factor"]
        raise ValueError(
            f"rope scaling 'llama3': low_freq_factor = {low!r} must be below "
            f"high_freq_factor = {high!r}"
        )


def write(scaling: RopeScaling | None) -> dict[str, Any] | None:
    """Return ``rope_scaling`` of a ``config.json``."""
    if scaling is None:
        return None
    kind = "linear" if isinstance(scaling, LinearRope) else "llama3"
    return {"rope_type": kind, **asdict(scaling)}
