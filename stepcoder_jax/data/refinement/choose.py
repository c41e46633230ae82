"""Which of the solutions that pass is to be imitated and to be the curriculum's."""

import math
import statistics
from collections.abc import Sequence

from stepcoder_jax.config import CurriculumConfig
from stepcoder_jax.stages import conditional_statements


def choose(solutions: Sequence[str]) -> int:
    """Index of the solution with a good balance of length and conditional statements.

    That is the one nearest to the middle of both, on a logarithmic scale:

        |log(length / median length)| + |log((E + 1) / (median E + 1))|

    so neither a golfed one-liner nor one that carries a library with it; of equals the first.

    Args:
      solutions: at least one; all of them parse.

    Source: StepCoder (arXiv 2402.01391), §4, asks for this balance and gives no rule.
    """
    keywords = CurriculumConfig().statements
    lengths = [max(len("".join(source.split())), 1) for source in solutions]
    conditions = [len(conditional_statements(source, keywords)) + 1 for source in solutions]
    middle, usual = statistics.median(lengths), statistics.median(conditions)

    def distance(index: int) -> float:
        length, condition = lengths[index], conditions[index]
        return abs(math.log(length / middle)) + abs(math.log(condition / usual))

    return min(range(len(solutions)), key=distance)
