"""Families over a list of numbers: filters, changes and points, one number at a time."""

from stepcoder_jax.data.builtin.family import Choice, Family
from stepcoder_jax.data.builtin.inputs import lists
from stepcoder_jax.data.builtin.vocabulary import COMPARISONS, UPPER_BOUNDS, tally

FILTER_TOTAL = Family(
    name="filter_total",
    given="xs",
    difficulty="introductory",
    space={"tally": tally("x"), "compare": COMPARISONS, "a": tuple(range(2, 61))},
    phrases=(
        "the {tally} of the numbers in xs that are {compare} {a}",
        "the {tally} of all numbers {compare} {a} in xs",
        "the {tally} of those numbers of xs that are {compare} {a}",
    ),
    heldout_phrases=(
        "the {tally} of all numbers in xs that are {compare} {a}",
        "the {tally} of those numbers in xs {compare} {a}",
    ),
    solution="""\
def filter_total(xs):
    total = 0
    for x in xs:
        if x {compare} {a}:
            total += {tally}
    return total
""",
    inputs=lambda p, rng: lists(rng, p["a"]),
)

BETWEEN_TOTAL = Family(
    name="between_total",
    given="xs",
    difficulty="introductory",
    space={
        "tally": tally("x"),
        "where": (
            Choice("at least {low} and at most {high}", "x >= {low} and x <= {high}"),
            Choice("greater than {low} and less than {high}", "x > {low} and x < {high}"),
            Choice("less than {low} or greater than {high}", "x < {low} or x > {high}"),
        ),
        "low": tuple(range(1, 16)),
        "high": tuple(range(5, 31)),
    },
    is_sensible=lambda p: p["low"] + 3 < p["high"],
    phrases=(
        "the {tally} of the numbers in xs that are {where}",
        "the {tally} of all numbers of xs that are {where}",
        "the {tally} of those numbers in xs that are {where}",
    ),
    heldout_phrases=(
        "the {tally} of all those numbers in xs that are {where}",
        "the {tally} of the numbers of xs that are {where}",
    ),
    solution="""\
def between_total(xs):
    total = 0
    for x in xs:
        if {where}:
            total += {tally}
    return total
""",
    inputs=lambda p, rng: lists(rng, p["low"], p["high"]),
)

SHIFT_SOME = Family(
    name="shift_some",
    given="xs",
    difficulty="interview",
    space={
        "compare": COMPARISONS,
        "c": tuple(range(3, 21)),
        "a": tuple(range(1, 10)),
        "b": tuple(range(1, 10)),
    },
    is_sensible=lambda p: p["a"] != p["b"],
    phrases=(
        "the list xs with {a} added to each number {compare} {c} and {b} taken from the others",
        "the numbers of xs, each plus {a} if it is {compare} {c} and minus {b} if not",
        "a list with x plus {a} for each x in xs that is {compare} {c} and x minus {b} otherwise",
    ),
    heldout_phrases=(
        "the list xs with each number {compare} {c} plus {a} and the others minus {b}",
        "the numbers of xs with {a} added to each that is {compare} {c} and {b} taken otherwise",
    ),
    solution="""\
def shift_some(xs):
    result = []
    for x in xs:
        if x {compare} {c}:
            result.append(x + {a})
        else:
            result.append(x - {b})
    return result
""",
    inputs=lambda p, rng: lists(rng, p["c"]),
)

POINTS = Family(
    name="points",
    given="xs",
    difficulty="interview",
    space={
        "upper": UPPER_BOUNDS,
        "high": tuple(range(12, 25)),
        "a": (3, 4, 5),
        "lower": UPPER_BOUNDS,
        "low": tuple(range(3, 10)),
        "b": (1, 2),
        "c": (1, 2),
    },
    phrases=(
        "the points of xs: {a} for a number {upper} {high}, else {b} if {lower} {low}, "
        "and minus {c} otherwise",
        "the sum of points for xs, where a number gives {a} if {upper} {high}, {b} if only "
        "{lower} {low}, and takes {c} otherwise",
        "the points when each number in xs {upper} {high} gives {a}, each other number "
        "{lower} {low} gives {b}, and the others take {c}",
    ),
    heldout_phrases=(
        "the points of xs, where a number gives {a} if {upper} {high}, else {b} if {lower} {low}, "
        "and takes {c} otherwise",
        "the sum of points for xs: {a} for each number {upper} {high}, {b} for each other number "
        "{lower} {low}, and minus {c} otherwise",
    ),
    solution="""\
def points(xs):
    total = 0
    for x in xs:
        if x {upper} {high}:
            total += {a}
        elif x {lower} {low}:
            total += {b}
        else:
            total -= {c}
    return total
""",
    inputs=lambda p, rng: lists(rng, p["low"], p["high"]),
)

LISTS = (FILTER_TOTAL, BETWEEN_TOTAL, SHIFT_SOME, POINTS)
