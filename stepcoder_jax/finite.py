"""Whether what is trained on, or has been trained, holds nothing but numbers."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool

from stepcoder_jax.types import TrainBatch


@jax.jit
def finite_fields(batch: TrainBatch) -> dict[str, Bool[Array, ""]]:
    """For each floating-point field, whether it is finite at every response token."""
    known = {name: x for name, x in vars(batch).items() if x is not None}
    floating = {n: x for n, x in known.items() if jnp.issubdtype(x.dtype, jnp.floating)}
    inside = {
        name: jnp.where(batch.is_response, x, 0.0) if x.shape == batch.is_response.shape else x
        for name, x in floating.items()
    }
    return {name: jnp.all(jnp.isfinite(x)) for name, x in inside.items()}


@jax.jit
def all_finite(tree: Any) -> Bool[Array, ""]:
    """Whether every entry of every array is."""
    return jnp.all(jnp.array([jnp.all(jnp.isfinite(x)) for x in jax.tree.leaves(tree)]))
