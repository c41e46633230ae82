"""Families that look through a list: the best, the first, the pairs, and where to stop."""

from stepcoder_jax.data.builtin.family import Choice, Family
from stepcoder_jax.data.builtin.inputs import lists
from stepcoder_jax.data.builtin.vocabulary import COMPARISONS, EQUAL, UPPER_BOUNDS

BEST_OF = Family(
    name="best_of",
    given="xs",
    difficulty="competition",
    space={
        "which": (Choice("largest", ">"), Choice("smallest", "<")),
        "compare": COMPARISONS,
        "a": tuple(range(2, 27)),
        "b": (0, 1, 50, 60, 99),
    },
    phrases=(
        "the {which} number in xs that is {compare} {a}, or {b} if there is none",
        "the {which} of the numbers {compare} {a} in xs, or {b} if xs has none",
        "{b} if no number in xs is {compare} {a}, and the {which} such number otherwise",
    ),
    heldout_phrases=(
        "the {which} number {compare} {a} in xs, or {b} if xs has none",
        "the {which} of the numbers in xs that are {compare} {a}, or {b} if there is none",
    ),
    solution="""\
def best_of(xs):
    best = None
    for x in xs:
        if x {compare} {a}:
            if best is None or x {which} best:
                best = x
    if best is None:
        return {b}
    return best
""",
    inputs=lambda p, rng: [
        *lists(rng, p["a"]),
        *([[p["a"] + offset]] for offset in (-9, -1, 1, 6, 15)),
    ],
)

FIRST_PLACE = Family(
    name="first_place",
    given="xs",
    difficulty="introductory",
    space={
        "compare": (*COMPARISONS, EQUAL),
        "a": tuple(range(1, 41)),
        "b": (-1, -2, 50, 99),
    },
    phrases=(
        "the index of the first number in xs that is {compare} {a}, or {b} if there is none",
        "the first index in xs with a number {compare} {a}, or {b} if xs has none",
        "{b} if no number in xs is {compare} {a}, and the index of the first such number otherwise",
    ),
    heldout_phrases=(
        "the index of the first number {compare} {a} in xs, or {b} if xs has none",
        "the first index with a number in xs that is {compare} {a}, or {b} if there is none",
    ),
    solution="""\
def first_place(xs):
    for i in range(len(xs)):
        if xs[i] {compare} {a}:
            return i
    return {b}
""",
    inputs=lambda p, rng: lists(rng, p["a"]),
)

COUNT_PAIRS = Family(
    name="count_pairs",
    given="xs",
    difficulty="competition",
    space={
        "join": (Choice("sum", "+"), Choice("product", "*")),
        "compare": (*COMPARISONS, EQUAL),
        "a": tuple(range(4, 54)),
    },
    phrases=(
        "how many pairs of numbers in xs have a {join} {compare} {a}",
        "the count of pairs in xs with a {join} that is {compare} {a}",
        "the count of all pairs of numbers in xs for which the {join} is {compare} {a}",
    ),
    heldout_phrases=(
        "how many pairs in xs have a {join} that is {compare} {a}",
        "the count of pairs of numbers in xs with a {join} {compare} {a}",
    ),
    solution="""\
def count_pairs(xs):
    count = 0
    for i in range(len(xs)):
        for j in range(i):
            if xs[i] {join} xs[j] {compare} {a}:
                count += 1
    return count
""",
    inputs=lambda p, rng: [
        *([[[1, c]] for c in (p["a"] - 2, p["a"] - 1, p["a"], p["a"] + 1)]),
        [[]],
        [[p["a"]]],
        [[2, 3, p["a"] - 2, p["a"] // 2, 1, p["a"] - p["a"] // 2]],
        [[rng.randint(0, p["a"]) for _ in range(7)]],
    ],
)

RUNNING_SUM = Family(
    name="running_sum",
    given="xs",
    difficulty="competition",
    space={
        "skip": COMPARISONS,
        "a": tuple(range(2, 22)),
        "stop": UPPER_BOUNDS,
        "b": tuple(range(24, 48, 2)),
    },
    phrases=(
        "the sum of xs, leaving out each number {skip} {a}, up to where the sum is {stop} {b}",
        "the sum of the numbers in xs that are not {skip} {a}, until it is {stop} {b}",
        "the sum of xs without numbers {skip} {a}, where adding stops once it is {stop} {b}",
    ),
    heldout_phrases=(
        "the sum of xs, leaving out each number {skip} {a}, until the sum is {stop} {b}",
        "the sum of the numbers in xs without those {skip} {a}, up to where it is {stop} {b}",
    ),
    solution="""\
def running_sum(xs):
    total = 0
    for x in xs:
        if x {skip} {a}:
            continue
        total += x
        if total {stop} {b}:
            break
    return total
""",
    inputs=lambda p, rng: _running_lists(p["a"], p["b"]),
)


def _running_lists(a: int, b: int) -> list[list[list[int]]]:
    """Numbers kept by either direction of the filter, whose sums meet the stop at b exactly."""
    low, high = a - 1, a + 1
    more = a + 5
    texts = [[], [a], [low, high, a, low], [a, a + 1, 50, a - 1, a + 2]]
    for part in (1, 1 + a // 3, a - 1, a + 1, a + 5):
        exact = [part] * (b // part) + ([b % part] if b % part else [])
        texts.append([*exact, part, 2, 3])
    texts += [[b - 1, 1, more], [b, 3, more], [b + 1, 4, more], [b - 1 - high, high, high, high]]
    return [[xs] for xs in texts]


SEARCHES = (BEST_OF, FIRST_PLACE, COUNT_PAIRS, RUNNING_SUM)
