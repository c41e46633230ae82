"""The product of hidden states with the output matrix: the largest one, and the one in float32."""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def head_product(
    hidden: Float[Array, "*batch D"], matrix: Float[Array, "..."], subscripts: str
) -> Float[Array, "*batch V"]:
    """Logits: products in the type of ``hidden``, added up in at least float32.

    Backwards too the products are of that type: with float32 gradients of bfloat16's logits they
    would be products of float32, several times slower, and no more precise than what they are of.
    Not so in float16, whose range a gradient shared out over a batch's tokens falls below.

    Args:
        matrix: ``[D, V]`` or ``[V, D]``, as ``subscripts`` says; its gradient has its own type.
    """
    if hidden.dtype == jnp.bfloat16:
        return _narrow_product(hidden, matrix, subscripts)
    return _product(hidden, matrix, subscripts)


def _product(hidden: Array, matrix: Array, subscripts: str) -> Array:
    wide = jnp.promote_types(hidden.dtype, jnp.float32)
    return jnp.einsum(subscripts, hidden, matrix.astype(hidden.dtype), preferred_element_type=wide)


_narrow_product = jax.custom_vjp(_product, nondiff_argnums=(2,))


def _forward(hidden: Array, matrix: Array, subscripts: str) -> tuple[Array, tuple[Array, Array]]:
    return _product(hidden, matrix, subscripts), (hidden, matrix)


def _backward(
    subscripts: str, operands: tuple[Array, Array], gradient: Array
) -> tuple[Array, Array]:
    hidden, matrix = operands
    (states, weights), logits = subscripts.split("->")[0].split(","), subscripts.split("->")[1]
    narrow = gradient.astype(hidden.dtype)
    product = partial(jnp.einsum, preferred_element_type=jnp.float32)
    of_hidden = product(f"{logits},{weights}->{states}", narrow, matrix.astype(hidden.dtype))
    flat = narrow.reshape(-1, narrow.shape[-1]), hidden.reshape(-1, hidden.shape[-1])
    of_matrix = product(f"tv,td->{weights}", *flat)
    return of_hidden.astype(hidden.dtype), of_matrix.astype(matrix.dtype)


_narrow_product.defvjp(_forward, _backward)
