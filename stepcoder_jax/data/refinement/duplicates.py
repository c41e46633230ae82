"""Problems that come twice: with the same text, or with one that is near and tests that agree."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from datasketch import MinHash, MinHashLSH

from stepcoder_jax.data.refinement.contamination import grams, words
from stepcoder_jax.problem import Problem

_PERMUTATIONS, _SEED = 128, 1
_SHINGLE_WORDS = 5
# Near problems that are tried against a new one's tests.
_MOST_TRIED = 3


@dataclass(kw_only=True)
class Family:
    """Problems near to the first of them: of a template there may be thousands.

    Attributes:
      numbers: of their rows.
      hashes: their signatures.
    """

    numbers: list[int] = field(default_factory=list)
    hashes: list[np.ndarray] = field(default_factory=list)


class Duplicates:
    """Finds, for one problem after another, an earlier one that is the same.

    Texts that differ in a number or a word may ask for different things, so a near text alone is
    no duplicate: the earlier problem's solution must pass the later one's tests as well.

    Args:
      near: similarity of two texts (Jaccard's, of their word 5-grams) from which they are near.
    """

    def __init__(self, near: float) -> None:
        self._near = near
        self._texts: dict[str, int] = {}
        # One that is missed is worse here than one too many, which is looked at closely anyway.
        self._first = MinHashLSH(
            threshold=near, num_perm=_PERMUTATIONS, weights=(0.1, 0.9), prepickle=False
        )
        self._families: dict[int, Family] = {}

    def find(self, number: int, problem: Problem, solves: Callable[[int], bool]) -> int | None:
        """The earlier row that a problem repeats, or None: then it is remembered.

        Args:
          number: of its row.
          solves: whether the solution of an earlier row passes this problem's tests.
        """
        exact = " ".join(f"{problem.question} {problem.starter_code}".split())
        known = self._texts.get(exact)
        if known is not None:
            return known
        text = words(problem)
        signature = MinHash(num_perm=_PERMUTATIONS, seed=_SEED)
        signature.update_batch(
            [gram.encode() for gram in grams(text, min(_SHINGLE_WORDS, len(text)))]
        )
        hashes = signature.hashvalues.astype(np.uint32)
        families = [self._families[first] for first in sorted(self._first.query(signature))]
        for candidate in self._nearest(families, hashes):
            if solves(candidate):
                return candidate
        self._remember(number, exact, signature, hashes, families)
        return None

    def _nearest(self, families: list[Family], hashes: np.ndarray) -> list[int]:
        found = [
            (-float(share), number)
            for family in families
            for share, number in zip(
                (np.stack(family.hashes) == hashes[None, :]).mean(axis=1),
                family.numbers,
                strict=True,
            )
            if share >= self._near
        ]
        return [number for _, number in sorted(found)[:_MOST_TRIED]]

    def _remember(
        self,
        number: int,
        text: str,
        signature: MinHash,
        hashes: np.ndarray,
        families: list[Family],
    ) -> None:
        self._texts[text] = number
        family = next((f for f in families if (f.hashes[0] == hashes).mean() >= self._near), None)
        if family is None:
            family = self._families[number] = Family()
            self._first.insert(number, signature)
        family.numbers.append(number)
        family.hashes.append(hashes)
