"""Frequencies of rotary position embedding on the host, to the bit as torch has them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float


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


def inverse_frequencies(
    head_dim: int, theta: float, scaling: RopeScaling | None
) -> Float[np.ndarray, " half"]:
    """Radians per position of each channel pair: theta^(-2i/H), scaled.

    Rounded to float32 where torch rounds: theta^(2i/H) first, then its reciprocal, then the scale.
    One unit in the last place of a frequency is an angle of up to 0.008 at position 131 071.

    Args:
        head_dim: H, even.
        theta: base of the geometric series.
        scaling: how to stretch it over a longer context, or None.
    """
    exponents = np.arange(0, head_dim, 2, dtype=np.float32) / np.float32(head_dim)
    periods = np.power(theta, exponents.astype(np.float64)).astype(np.float32)
    frequencies = np.float32(1.0) / periods
    match scaling:
        case None:
            return frequencies
        case LinearRope(factor=factor):
            return frequencies / np.float32(factor)
        case Llama3Rope():
            return _llama3_frequencies(frequencies, scaling)


def _llama3_frequencies(
    frequencies: Float[np.ndarray, " half"], scaling: Llama3Rope
) -> Float[np.ndarray, " half"]:
    wavelengths = np.float32(2 * math.pi) / frequencies
    wavelengths_in_context = np.float32(scaling.original_max_position_embeddings) / wavelengths
    ramp = (wavelengths_in_context - np.float32(scaling.low_freq_factor)) / np.float32(
        scaling.high_freq_factor - scaling.low_freq_factor
    )
    kept = np.clip(ramp, np.float32(0.0), np.float32(1.0))
    divided = (np.float32(1.0) - kept) * frequencies / np.float32(scaling.factor)
    return divided + kept * frequencies
