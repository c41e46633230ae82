"""A slip that people make: a function prints its result where it should return it.

The split ``unreviewed`` shows programs of which half have it, as programs have that nobody ran:
whoever imitates them learns what a solution looks like, and only execution tells which half works.
"""

import re
from dataclasses import replace

from stepcoder_jax.data.builtin.splits import digest
from stepcoder_jax.problem import Problem

RETURN = re.compile(r"^(?P<indent> +)return (?P<value>.+)$", re.MULTILINE)


def unreviewed(problem: Problem) -> Problem:
    """Give one problem in two a solution with the slip, if it has a function; always the same."""
    solution = problem.canonical_solution
    if solution is None or int(digest("slip", problem.id)[:8], 16) % 2:
        return problem
    return replace(problem, canonical_solution=print_results(solution))


def print_results(source: str) -> str:
    """Make every function print what it returns."""
    return RETURN.sub(r"\g<indent>print(\g<value>)", source)
