"""Rotary position embedding in float32, with the scalings that Llama-family models use."""

from __future__ import annotations

import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int


@dataclass(frozen=True, kw_only=True)
class LinearRope:
    """Every frequency divided by ``factor``, as if positions were (DeepSeek-Coder)."""

    factor: float


@dataclass(frozen=True, kw_only=True)
class Llama3Rope:
    """Low frequencies divided by ``factor``, high ones kept, a ramp between (Llama 3.1 and later).

    A frequency counts as high when the original context holds more than ``high_freq_factor`` of its
    wavelengths, as low when it holds fewer than ``low_freq_factor``.
    """

    factor: float
    low_freq_factor: float
    high_freq_factor: float
    original_max_position_embeddings: int


RopeScaling = LinearRope | Llama3Rope


@jax.tree_util.register_dataclass
@dataclass(frozen=True, kw_only=True)
class RopeAngles:
    """Cosine and sine of position × frequency, for every token and pair of channels."""

    cos: Float[Array, "B T half"]
    sin: Float[Array, "B T half"]


def inverse_frequencies(
    head_dim: int, theta: float, scaling: RopeScaling | None
) -> Float[Array, " half"]:
    """Radians per position of each channel pair: theta^(-2i/H), scaled.

    Args:
        head_dim: H, even.
        theta: base of the geometric series.
        scaling: how to stretch it over a longer context, or None.
    """
    frequencies = theta ** (-jnp.arange(0, head_dim, 2, dtype=jnp.float32) / head_dim)
    match scaling:
        case None:
            return frequencies
        case LinearRope(factor=factor):
            return frequencies / factor
        case Llama3Rope():
            return _llama3_frequencies(frequencies, scaling)


def _llama3_frequencies(
    frequencies: Float[Array, " half"], scaling: Llama3Rope
) -> Float[Array, " half"]:
    wavelengths_in_context = scaling.original_max_position_embeddings * frequencies / (2 * math.pi)
    ramp = (wavelengths_in_context - scaling.low_freq_factor) / (
        scaling.high_freq_factor - scaling.low_freq_factor
    )
    kept = jnp.clip(ramp, 0.0, 1.0)
    return kept * frequencies + (1.0 - kept) * frequencies / scaling.factor


def rope_angles(
    positions: Int[Array, "B T"], head_dim: int, theta: float, scaling: RopeScaling | None
) -> RopeAngles:
    """Angles of ``positions``, computed once a forward pass and shared by all layers."""
    frequencies = inverse_frequencies(head_dim, theta, scaling)
    angles = positions[..., None].astype(jnp.float32) * frequencies[None, None]
    return RopeAngles(cos=jnp.cos(angles), sin=jnp.sin(angles))


def apply_rope(x: Float[Array, "B T heads H"], angles: RopeAngles) -> Float[Array, "B T heads H"]:
    """Rotate channel i with channel i + H/2 (Hugging Face's halves layout, not interleaved pairs).

    Computed in float32; the result has the dtype of ``x``.
    """
    cos, sin = angles.cos[..., None, :], angles.sin[..., None, :]
    first, second = jnp.split(x.astype(jnp.float32), 2, axis=-1)
    rotated = jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)
    return rotated.astype(x.dtype)
