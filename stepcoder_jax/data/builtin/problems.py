"""From families and hand-written rows to the problems of a split."""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from random import Random

from stepcoder_jax.data.builtin.families import KNOWN_FAMILIES, UNSEEN_FAMILIES
from stepcoder_jax.data.builtin.family import Family, Parameters, in_code
from stepcoder_jax.data.builtin.handwritten import handwritten_problems
from stepcoder_jax.data.builtin.reference_run import tests_from_solution
from stepcoder_jax.data.builtin.slips import unreviewed
from stepcoder_jax.data.builtin.splits import SPLITS, digest, split_draws, split_templates
from stepcoder_jax.data.builtin.wording import question
from stepcoder_jax.problem import DIFFICULTIES, Difficulty, Problem

FAMILIES: dict[str, tuple[Family, ...]] = {
    "train": KNOWN_FAMILIES,
    "heldout": KNOWN_FAMILIES,
    "unseen_families": UNSEEN_FAMILIES,
    "unreviewed": KNOWN_FAMILIES,
}
DEFAULT_COUNTS = {"train": 4000, "heldout": 280, "unseen_families": 120, "unreviewed": 4000}


def builtin_problems(
    split: str,
    *,
    count: int | None = None,
    seed: int = 0,
    difficulties: Sequence[Difficulty] = DIFFICULTIES,
) -> list[Problem]:
    """Make the problems of one built-in split; the same call gives the same problems everywhere.

    Families take turns, so every prefix of the list is balanced, and the hand-written problems of
    the split take turns as one family more. No two problems of a list are the same; a draw comes
    back, in another wording, only after all draws of its family have been used.

    Args:
      split: one of `SPLITS` (see `splits`).
      count: how many; None for the split's own size (`DEFAULT_COUNTS`, or all there are).
      seed: another seed, another selection and order. Splits stay disjoint across seeds.
      difficulties: only problems of these levels.

    Raises:
      ValueError: unknown split, or a count that is negative or more than the split has.
    """
    if split not in SPLITS:
        raise ValueError(f"unknown built-in split {split!r}: expected one of {', '.join(SPLITS)}")
    wanted = DEFAULT_COUNTS.get(split) if count is None else count
    if wanted is not None and wanted < 0:
        raise ValueError(f"count is {wanted}: expected a number of problems, 0 or more")
    problems = list(itertools.islice(_alternate(_streams(split, seed, difficulties)), wanted))
    if wanted is not None and len(problems) < wanted:
        raise ValueError(f"count is {wanted}, but split {split!r} has only {len(problems)}")
    return problems


def _streams(split: str, seed: int, difficulties: Sequence[Difficulty]) -> list[Iterator[Problem]]:
    families = [f for f in FAMILIES.get(split, ()) if f.difficulty in difficulties]
    written = [p for p in handwritten_problems(split) if p.difficulty in difficulties]
    written.sort(key=lambda problem: digest(seed, problem.id))
    return [*(_family_stream(family, split, seed) for family in families), iter(written)]


def _alternate(streams: Iterable[Iterator[Problem]]) -> Iterator[Problem]:
    """One problem of each stream in turn; a stream that ends leaves the others going."""
    for turn in itertools.zip_longest(*streams):
        yield from (problem for problem in turn if problem is not None)


def _family_stream(family: Family, split: str, seed: int) -> Iterator[Problem]:
    """Every draw in every template of the split, one template for all draws before the next."""
    templates = split_templates(family, split)
    draws = list(split_draws(family, split))
    Random(digest(seed, family.name, split)).shuffle(draws)
    for turn in range(len(templates)):
        for place, draw in enumerate(draws):
            problem = family_problem(family, draw, templates[(place + turn) % len(templates)])
            yield unreviewed(problem) if split == "unreviewed" else problem


def family_problem(family: Family, parameters: Parameters, template: str) -> Problem:
    """Make one problem: a question, its canonical solution, and tests that the solution passes."""
    identity = digest(family.name, parameters, template)[:10]
    solution = in_code(family.solution, parameters)
    drawn = family.inputs(parameters, Random(digest("inputs", family.name, parameters)))
    inputs = list({repr(given): given for given in drawn}.values())
    return Problem(
        id=f"builtin/{family.name}/{identity}",
        question=question(template, family, parameters),
        difficulty=family.difficulty,
        starter_code=family.starter_code,
        canonical_solution=solution,
        tests=tests_from_solution(solution, family.fn_name, inputs),
        source="builtin/families",
    )
