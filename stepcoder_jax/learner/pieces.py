"""Rows in pieces, one after the other, and gradients added up over them."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import DTypeLike

from stepcoder_jax.model.precision import as_computed
from stepcoder_jax.sharding import constrained
from stepcoder_jax.types import TrainBatch


def accumulate[Tree, Stats](
    loss: Callable[[Tree, TrainBatch], tuple[Array, Stats]],
    params: Tree,
    batch: TrainBatch,
    pieces: int,
    dtype: DTypeLike,
) -> tuple[Tree, Stats]:
    """Gradients summed over micro-batches, and each one's statistics stacked.

    The losses divide by counts over the whole mini-batch, so their sum is the mini-batch's loss.

    Args:
        dtype: what the models compute in. The weights of layers are rounded to it once, not at
            every micro-batch; gradients add up in the parameters' own type.
    """
    computed = as_computed(params, dtype)

    def gradient(piece: TrainBatch) -> tuple[Tree, Stats]:
        return jax.grad(loss, has_aux=True)(computed, piece)

    if pieces == 1:
        grads, stats = gradient(batch)
        grads = jax.tree.map(lambda x, of: x.astype(of.dtype), grads, params)
        return grads, jax.tree.map(lambda x: x[None], stats)

    def add(total: Tree, piece: TrainBatch) -> tuple[Tree, Stats]:
        grads, stats = gradient(piece)
        return jax.tree.map(jnp.add, total, grads), stats

    zeros = jax.tree.map(jnp.zeros_like, params)
    return jax.lax.scan(add, zeros, split(batch, pieces))


def split[Tree](tree: Tree, pieces: int) -> Tree:
    """Arrays of B rows as arrays of ``pieces`` groups of adjacent rows.

    On a mesh the rows of each group are shared out over all devices: as they lay, a group would be
    some devices' alone.
    """

    def grouped(x: Array) -> Array:
        groups = x.reshape(pieces, x.shape[0] // pieces, *x.shape[1:])
        return constrained(groups, (None, "batch"))

    return jax.tree.map(grouped, tree)


def join[Tree](tree: Tree) -> Tree:
    """Undoes ``split``."""
    return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), tree)
