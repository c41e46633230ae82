"""Which parameters are computed in the model's type, whatever type they are kept in."""

from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array


def as_computed[Tree](params: Tree, dtype: DTypeLike) -> Tree:
    """Parameters with the weights of layers rounded to ``dtype``, as the layers round them.

    The rest stays: scales of norms are computed in float32, the embedding's gradient adds up over
    tokens in the type of the embedding, adapters are small.
    """

    def rounded(path: Any, x: Array) -> Array:
        is_wider = jnp.finfo(x.dtype).bits > jnp.finfo(dtype).bits
        return x.astype(dtype) if is_layer_weight(path) and is_wider else x

    return jax.tree_util.tree_map_with_path(rounded, params)


def is_layer_weight(path: Any) -> bool:
    """Whether a leaf of a tree of parameters, by its path there, is a layer's matrix or bias."""
    keys = [getattr(part, "key", None) for part in path]
    return "layers" in keys and keys[-1] in ("kernel", "bias")
