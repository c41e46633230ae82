"""The product with the output matrix and its gradients, by the type of the hidden states."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stepcoder_jax.model.decoder import unembed
from stepcoder_jax.model.head_product import head_product

LAYOUTS = [("...d,dv->...v", (16, 40)), ("...d,vd->...v", (40, 16))]


def random(seed: int, *shape: int, dtype: str = "float32") -> jax.Array:
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), dtype)


@pytest.mark.parametrize(
    ("dtype", "rtol"), [("float32", 1e-6), ("bfloat16", 1e-2), ("float16", 1e-3)]
)
def test_small_gradients_of_logits_reach_the_output_matrix(dtype: str, rtol: float) -> None:
    rng = np.random.default_rng(0)
    hidden = jnp.asarray(rng.uniform(0.5, 1.5, (1, 5000, 4)), dtype)
    matrix = jnp.ones((4, 3), jnp.float32)
    # Each token's share is below what float16 can hold, their sum is not.
    gradient = jnp.full((1, 5000, 3), 2e-8, jnp.float32)
    _, pull = jax.vjp(lambda w: head_product(hidden, w, "...d,dv->...v"), matrix)
    expected = np.einsum("btd,btv->dv", np.asarray(hidden, np.float64), np.asarray(gradient))
    found = pull(gradient)[0]
    assert found.dtype == matrix.dtype
    assert np.linalg.norm(found - expected) <= rtol * np.linalg.norm(expected)


@pytest.mark.parametrize(("subscripts", "shape"), LAYOUTS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_output_product_is_what_einsum_gives(subscripts, shape, dtype) -> None:
    with jax.enable_x64(True):
        hidden, matrix = random(0, 2, 5, 16, dtype=dtype), random(1, *shape, dtype=dtype)
        weight = random(2, 2, 5, 40, dtype=dtype)
        found, pull = jax.vjp(lambda h, m: head_product(h, m, subscripts), hidden, matrix)
        expected, expected_pull = jax.vjp(lambda h, m: jnp.einsum(subscripts, h, m), hidden, matrix)
        np.testing.assert_array_equal(found, expected)
        jax.tree.map(np.testing.assert_array_equal, pull(weight), expected_pull(weight))


@pytest.mark.parametrize(("subscripts", "shape"), LAYOUTS)
def test_in_bfloat16_gradients_are_those_of_rounded_operands(subscripts, shape) -> None:
    """The matrix's to float32's precision; the hidden states' are rounded to bfloat16."""
    hidden, matrix = random(0, 2, 5, 16, dtype="bfloat16"), random(1, *shape)
    weight = random(2, 2, 5, 40).astype(jnp.bfloat16).astype(jnp.float32)
    found, pull = jax.vjp(lambda h, m: head_product(h, m, subscripts), hidden, matrix)
    of_hidden, of_matrix = pull(weight)
    assert (found.dtype, of_hidden.dtype, of_matrix.dtype) == ("float32", "bfloat16", "float32")

    wide = hidden.astype(jnp.float32), matrix.astype(jnp.bfloat16).astype(jnp.float32)
    expected, expected_pull = jax.vjp(lambda h, m: jnp.einsum(subscripts, h, m), *wide)
    for a, b, tolerance in zip(
        (found, of_hidden, of_matrix),
        (expected, *expected_pull(weight)),
        (1e-6, 2**-8, 1e-6),
        strict=True,
    ):
        np.testing.assert_allclose(
            np.asarray(a, np.float32), b, atol=tolerance * float(jnp.abs(b).max())
        )


@pytest.mark.parametrize("tied", [False, True])
def test_every_large_product_of_bfloat16_has_operands_of_bfloat16(tied: bool) -> None:
    params = {"embedding": random(1, 40, 16)} | ({} if tied else {"unembedding": random(2, 16, 40)})
    hidden = random(0, 2, 5, 16, dtype="bfloat16")

    def loss(params: dict, hidden: jax.Array) -> jax.Array:
        return jnp.sum(jax.nn.logsumexp(unembed(params, hidden), axis=-1))

    jaxpr = jax.make_jaxpr(jax.grad(loss, argnums=(0, 1)))(params, hidden)
    operands = [
        {x.aval.dtype.name for x in equation.invars}
        for equation in equations(jaxpr.jaxpr)
        if equation.primitive.name == "dot_general"
    ]
    assert operands == [{"bfloat16"}] * 3


def equations(jaxpr: Any) -> list[Any]:
    """All of them, nested ones included."""
    found = []
    for equation in jaxpr.eqns:
        found.append(equation)
        leaves = jax.tree.leaves(list(equation.params.values()))
        inner = [getattr(leaf, "jaxpr", leaf) for leaf in leaves]  # of a closed one
        found += [nested for leaf in inner if hasattr(leaf, "eqns") for nested in equations(leaf)]
    return found
