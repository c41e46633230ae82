"""Whether a batch holds numbers that can be trained on."""

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
