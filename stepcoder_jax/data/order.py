"""The order in which training visits problems: a function of the seed and a position, no more."""

import grain
import numpy as np
from jaxtyping import Int


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
