"""The order in which training visits problems: a function of the seed and a position, no more."""

from collections.abc import Sequence
from typing import Literal, assert_never

import grain
import numpy as np
from jaxtyping import Int

from stepcoder_jax.config import ConfigError

# Keeps these draws apart from others that follow from a seed and a number.
WEIGHTED_STREAM = 2


class ProblemOrder:
    """Endless reshuffled passes over N problems, readable at any position.

    A position is all there is to save: order[k] does not depend on what was read before.
    """

    def __init__(self, size: int, *, seed: int) -> None:
        if size < 1:
            raise ValueError("there is no training problem left to draw from")
        self._order = grain.MapDataset.range(size).seed(seed).shuffle().repeat()

    def take(self, position: int, count: int) -> Int[np.ndarray, " count"]:
        """Problem indices at ``position`` and the ``count - 1`` places after it."""
        return np.array([self._order[position + i] for i in range(count)], dtype=np.int64)


class WeightedOrder:
    """Endless independent draws, each problem in proportion to its weight.

    A position is all there is to save: the draw there does not depend on what was read before.

    Args:
        weights: one a problem, at least 1.
    """

    def __init__(self, weights: Sequence[int], *, seed: int) -> None:
        if not weights or min(weights) < 1:
            raise ValueError("weighted draws need a problem, and weights of at least 1")
        self._bounds = np.cumsum(weights)
        self._seed = seed

    def take(self, position: int, count: int) -> Int[np.ndarray, " count"]:
        """Problem indices at ``position`` and the ``count - 1`` places after it."""
        draws = [self._draw(position + i) for i in range(count)]
        return np.searchsorted(self._bounds, np.array(draws, dtype=np.int64), side="right")

    def _draw(self, position: int) -> int:
        rng = np.random.default_rng([self._seed, position, WEIGHTED_STREAM])
        return int(rng.integers(self._bounds[-1]))


type Order = ProblemOrder | WeightedOrder


def own_rows(batch: int, field: str, *, process: int, processes: int) -> slice:
    """Which rows of every batch a process feeds: an even share, in the order of the processes.

    All of them read the same order, so that their rows together are the batch of a single one.

    Args:
        batch: rows of all processes together.
        field: of the recipe, that says how many these are.

    Raises:
        ConfigError: the shares are not even.
    """
    if batch % processes:
        raise ConfigError(
            f"{field} = {batch}: must be a multiple of the {processes} processes, each of which"
            " feeds as many rows"
        )
    share = batch // processes
    return slice(process * share, (process + 1) * share)


def problem_order(
    weighting: Literal["uniform", "conditionals"], statements: Sequence[int], *, seed: int
) -> Order:
    """The order that a recipe asks for (``data.weighting``).

    Args:
        statements: E, the conditional statements of each problem's solution; ``conditionals`` draws
            a problem in proportion to 1 + E.
    """
    match weighting:
        case "uniform":
            return ProblemOrder(len(statements), seed=seed)
        case "conditionals":
            return WeightedOrder([1 + count for count in statements], seed=seed)
        case unknown:
            assert_never(unknown)
