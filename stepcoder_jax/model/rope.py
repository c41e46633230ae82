"""Rotary position embedding in float32: the angles of a pass, and the rotation itself."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from stepcoder_jax.masked import at_least_float32
from stepcoder_jax.model.rope_frequencies import RopeScaling, inverse_frequencies


@jax.tree_util.register_dataclass
@dataclass(frozen=True, kw_only=True)
class RopeAngles:
    """Cosine and sine of position × frequency, for every token and pair of channels."""

    cos: Float[Array, "B T half"]
    sin: Float[Array, "B T half"]


def rope_angles(
    positions: Int[Array, "B T"], head_dim: int, theta: float, scaling: RopeScaling | None
) -> RopeAngles:
    """Angles of ``positions``, computed once a forward pass and shared by all layers."""
    frequencies = jnp.asarray(inverse_frequencies(head_dim, theta, scaling))
    angles = positions[..., None].astype(jnp.float32) * frequencies[None, None]
    # Without the barrier XLA would compute them again in every layer that reads them.
    cos, sin = jax.lax.optimization_barrier((jnp.cos(angles), jnp.sin(angles)))
    return RopeAngles(cos=cos, sin=sin)


def apply_rope(x: Float[Array, "B T heads H"], angles: RopeAngles) -> Float[Array, "B T heads H"]:
    """Rotate channel i with channel i + H/2 (Hugging Face's halves layout, not interleaved pairs).

    Computed in at least float32; the result has the dtype of ``x``.
    """
    cos, sin = angles.cos[..., None, :], angles.sin[..., None, :]
    first, second = jnp.split(at_least_float32(x), 2, axis=-1)
    rotated = jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)
    return rotated.astype(x.dtype)
