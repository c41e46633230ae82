"""Parameters of all layers: in one array each, as training keeps them, or a tree for every layer.

Compiled one by one, each layer reads its slice of those arrays, and its gradient goes into a slice:
copies, at every micro-batch. So a step takes the layers apart before its micro-batches and puts
their gradients together behind them. What a model is applied to is put together where it is
applied: XLA sees that each slice is a part that is there already, and copies nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import jax
import jax.numpy as jnp


def unstacked[Tree](layers: Tree) -> tuple[Tree, ...]:
    """Arrays ``[L, …]`` as L trees."""
    n_layers = jax.tree.leaves(layers)[0].shape[0]
    return tuple(jax.tree.map(lambda x, i=i: x[i], layers) for i in range(n_layers))


def stacked[Tree](layers: Sequence[Tree]) -> Tree:
    """Undoes :func:`unstacked`."""
    return cast(Tree, jax.tree.map(lambda *parts: jnp.stack(parts), *layers))


def layers_apart(params: Any, *, where: bool = True) -> Any:
    """Trees of parameters, in each of which ``layers`` becomes a tuple: a tree for every layer.

    Args:
        where: whether layers are compiled one by one; else everything stays as it is.
    """
    return _with_layers(params, unstacked) if where else params


def layers_together(params: Any) -> Any:
    """Undoes :func:`layers_apart`; what it did not take apart stays."""
    return _with_layers(params, lambda layers: stacked(layers) if _is_apart(layers) else layers)


def _is_apart(layers: Any) -> bool:
    return isinstance(layers, tuple)


def _with_layers(tree: Any, change: Callable[[Any], Any]) -> Any:
    if isinstance(tree, tuple):
        return tuple(_with_layers(part, change) for part in tree)
    if not isinstance(tree, Mapping):
        return tree
    return {
        name: change(part) if name == "layers" else _with_layers(part, change)
        for name, part in tree.items()
    }
