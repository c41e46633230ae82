"""Rope in GGUF files: llama.cpp's options of it, and the tensor that divides its frequencies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from stepcoder_jax.model.config import ModelConfig
from stepcoder_jax.model.metadata_values import positive_number
from stepcoder_jax.model.rope_frequencies import Llama3Rope, inverse_frequencies

# llama.cpp reads the older name where the newer is not there.
_FACTORS = ("rope.scaling.factor", "rope.scale_linear")

SCALING_OPTIONS = ("rope.scaling.type", *_FACTORS)

# What each frequency is divided by: all that llama.cpp's converter keeps of llama3 scaling.
DIVISORS = "rope_freqs.weight"

# Llama 3.1's and 3.2's, by Meta's config.json.
_PUBLISHED = tuple(
    Llama3Rope(
        factor=factor,
        low_freq_factor=1.0,
        high_freq_factor=4.0,
        original_max_position_embeddings=8192,
    )
    for factor in (8.0, 32.0)
)


def rope_scaling(architecture: str, options: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return config.json's ``rope_scaling``, as llama.cpp reads the options of an architecture.

    Without a type it is linear, and a factor of 0 stands for none.

    Raises:
        ValueError: a type or a factor that the decoder does not compute, by name.
    """
    kind = options.get("rope.scaling.type")
    name = next((name for name in _FACTORS if name in options), _FACTORS[0])
    factor = options.get(name)
    if kind not in (None, "none", "linear"):
        raise ValueError(
            f"{architecture}.rope.scaling.type = {kind!r} is not supported; allowed: none, linear"
        )
    is_unscaled = kind is None and not isinstance(factor, bool) and factor in (None, 0, 1)
    if kind == "none" or is_unscaled:
        return None
    if factor is None:
        raise ValueError(
            f"lacks {architecture}.{name}, which {architecture}.rope.scaling.type = {kind!r} needs"
        )
    return {"rope_type": "linear", "factor": positive_number(f"{architecture}.{name}", factor)}


def with_divisors(architecture: str, config: ModelConfig, divisors: np.ndarray) -> ModelConfig:
    """Return the config with the llama3 scaling that a file's tensor of divisors stands for.

    Raises:
        ValueError: they are of no published model, or llama.cpp would not apply them alone.
    """
    if architecture != "llama" or config.rope_scaling is not None:
        raise ValueError(
            f"tensor {DIVISORS!r} is not supported with general.architecture = {architecture!r} "
            f"and rope scaling {config.rope_scaling}; allowed: 'llama' and None"
        )
    for scaling in _PUBLISHED:
        if _is_that_of(divisors, config, scaling):
            return replace(config, rope_scaling=scaling)
    raise ValueError(
        f"tensor {DIVISORS!r} holds neither Llama 3.1's nor Llama 3.2's divisors of the rope "
        "frequencies; no others are supported"
    )


def _is_that_of(divisors: np.ndarray, config: ModelConfig, scaling: Llama3Rope) -> bool:
    plain, scaled = (
        inverse_frequencies(config.head_dim, config.rope_theta, how) for how in (None, scaling)
    )
    # Where the ramp begins, rounding in float32 is magnified to 4e-6 of a divisor.
    is_near = divisors.shape == plain.shape and np.allclose(
        divisors, plain / scaled, rtol=1e-5, atol=0.0
    )
    return bool(is_near)
