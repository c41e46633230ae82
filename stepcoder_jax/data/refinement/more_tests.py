"""More tests for a problem: inputs that are made, outputs on which its solutions agree."""

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

from stepcoder_executor import IoTests

from stepcoder_jax.data.refinement.judge import Judge
from stepcoder_jax.data.refinement.mutate import mutants

# Solutions that are asked: more would seldom agree less, and cost as much again each.
MOST_ASKED = 5
_BATCH, _MOST_ROUNDS = 16, 4
# An expected output is no longer than the longest that was given, or this.
_OUTPUT_CHARS = 2_000


@dataclass(frozen=True, kw_only=True)
class Grown:
    """A problem's tests after some were added.

    Attributes:
      tests: the given ones first.
      added: how many are new.
      arms, taken: branches of the canonical solution, and how many all the tests enter.
      saturated: whether the last round of inputs entered no new branch.
    """

    tests: IoTests
    added: int
    arms: int
    taken: int
    saturated: bool


def grow(
    tests: IoTests,
    canonical: str,
    others: Sequence[str],
    judge: Judge,
    *,
    target: int,
    rng: random.Random,
) -> Grown:
    """Adds tests until they are ``target`` and new inputs enter no new branch of the solution.

    Beyond the target only what enters a new branch is added.

    Args:
      canonical: its branches are looked at.
      others: solutions that must give the same output; none: the canonical one is believed.
      rng: decides the inputs.
    """
    every, entered = judge.coverage(canonical, tests)
    longest = max(_OUTPUT_CHARS, *(len(json.dumps(output)) for output in tests.outputs))
    grown, source = tests, mutants(tests, rng)
    saturated = False
    for _ in range(_MOST_ROUNDS):
        if saturated or (len(entered) == every and len(grown.inputs) >= target):
            break
        inputs = list(islice(source, _BATCH))
        agreed = _agreed(tests, inputs, [canonical, *others[: MOST_ASKED - 1]], judge)
        pairs = [pair for pair in agreed if len(json.dumps(pair[1])) <= longest]
        new, entered_now = _useful(tests, pairs, canonical, judge, entered)
        room = max(target - len(grown.inputs) - len(new), 0)
        rest = [pair for pair in pairs if pair not in new][:room]
        grown = _with(grown, [*new, *rest])
        saturated = entered_now == entered and len(grown.inputs) >= target
        entered = entered_now
        if len(inputs) < _BATCH:
            break
    return Grown(
        tests=grown,
        added=len(grown.inputs) - len(tests.inputs),
        arms=every,
        taken=len(entered),
        saturated=saturated or len(entered) == every,
    )


def _agreed(
    tests: IoTests, inputs: Sequence[Any], solutions: Sequence[str], judge: Judge
) -> list[tuple[Any, Any]]:
    """Inputs with the output on which all solutions agree; the others are left out."""
    if not inputs:
        return []
    asked = IoTests(fn_name=tests.fn_name, inputs=tuple(inputs), outputs=("",) * len(inputs))
    answers = [judge.outputs(source, asked) for source in solutions]
    return [
        (entry, given[0])
        for entry, *given in zip(inputs, *answers, strict=True)
        if given[0] is not None and all(answer == given[0] for answer in given)
    ]


def _useful(
    tests: IoTests,
    pairs: Sequence[tuple[Any, Any]],
    canonical: str,
    judge: Judge,
    entered: frozenset[int],
) -> tuple[list[tuple[Any, Any]], frozenset[int]]:
    """The pairs that enter a branch which nothing before them did, and all that is then entered."""
    if not pairs or judge.coverage(canonical, _only(tests, pairs))[1] <= entered:
        return [], entered
    useful = []
    for pair in pairs:
        now = judge.coverage(canonical, _only(tests, [pair]))[1]
        if not now <= entered:
            useful.append(pair)
            entered |= now
    return useful, entered


def _only(tests: IoTests, pairs: Sequence[tuple[Any, Any]]) -> IoTests:
    inputs, outputs = zip(*pairs, strict=True)
    return replace(tests, inputs=inputs, outputs=outputs)


def _with(tests: IoTests, pairs: Sequence[tuple[Any, Any]]) -> IoTests:
    return replace(
        tests,
        inputs=(*tests.inputs, *(entry for entry, _ in pairs)),
        outputs=(*tests.outputs, *(output for _, output in pairs)),
    )
