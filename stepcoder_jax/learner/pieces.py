"""Rows in pieces, one after the other, and gradients added up over them."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array

from stepcoder_jax.model.critic import Critic
from stepcoder_jax.model.decoder import Decoder
from stepcoder_jax.model.layer_stack import layers_apart, layers_together
from stepcoder_jax.model.precision import as_computed
from stepcoder_jax.sharding import constrained
from stepcoder_jax.types import TrainBatch


def accumulate[Tree, Stats](
    loss: Callable[[Tree, TrainBatch], tuple[Array, Stats]],
    params: Tree,
    batch: TrainBatch,
    pieces: int,
    model: Decoder | Critic,
) -> tuple[Tree, Stats]:
    """Gradients summed over micro-batches, and each one's statistics stacked.

    The losses divide by counts over the whole mini-batch, so their sum is the mini-batch's loss.

    Args:
        model: what is done once, not at every micro-batch, follows from it: the weights of layers
            are rounded to its type (gradients add up in the parameters' own), and, where layers
            are compiled one by one, taken out of the arrays of all layers and put back.
    """

    def gradient(computed: Tree, piece: TrainBatch) -> tuple[Tree, Stats]:
        return jax.grad(loss, has_aux=True)(computed, piece)

    if pieces == 1:
        grads, stats = gradient(as_computed(params, model.dtype), batch)
        grads = jax.tree.map(lambda x, of: x.astype(of.dtype), grads, params)
        return grads, jax.tree.map(lambda x: x[None], stats)

    lone = layers_apart(params, where=model.unroll)
    computed = as_computed(lone, model.dtype)

    def add(total: Tree, piece: TrainBatch) -> tuple[Tree, Stats]:
        grads, stats = gradient(computed, piece)
        return jax.tree.map(jnp.add, total, grads), stats

    total, stats = jax.lax.scan(add, jax.tree.map(jnp.zeros_like, lone), split(batch, pieces))
    return layers_together(total), stats


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
