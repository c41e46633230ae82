"""Families that are mostly decisions: chains, nested tests, orders of checks."""

from random import Random

from stepcoder_jax.data.builtin.family import Choice, Family, Parameters
from stepcoder_jax.data.builtin.inputs import calls, lists, near
from stepcoder_jax.data.builtin.vocabulary import (
    AT_MOST,
    LABELS,
    LESS,
    PLUS,
    TIMES,
    UPPER_BOUNDS,
)

FIRST, SECOND, THIRD, LAST = (tuple(words[k] for words in LABELS) for k in range(4))

GRADE = Family(
    name="grade",
    given="n",
    difficulty="interview",
    space={
        "compare": (LESS, AT_MOST),
        "a": tuple(range(2, 9)),
        "b": tuple(range(9, 15)),
        "c": tuple(range(16, 28, 3)),
        "w": FIRST,
        "x": (SECOND[0], SECOND[1]),
        "y": (THIRD[2], THIRD[3]),
        "z": (LAST[0],),
    },
    phrases=(
        "'{w}' if n is {compare} {a}, '{x}' if {compare} {b}, '{y}' if {compare} {c}, "
        "and '{z}' otherwise",
        "'{z}', but '{y}' if n is {compare} {c}, '{x}' if {compare} {b} and '{w}' if {compare} {a}",
        "'{w}' when n is {compare} {a}, else '{x}' when {compare} {b}, else '{y}' when "
        "{compare} {c}, else '{z}'",
    ),
    heldout_phrases=(
        "'{w}' when n is {compare} {a}, '{x}' when {compare} {b}, '{y}' when {compare} {c}, "
        "and '{z}' otherwise",
        "'{w}' if n is {compare} {a}, else '{x}' if {compare} {b}, else '{y}' if {compare} {c}, "
        "else '{z}'",
    ),
    solution="""\
def grade(n):
    if n {compare} {a}:
        return "{w}"
    elif n {compare} {b}:
        return "{x}"
    elif n {compare} {c}:
        return "{y}"
    return "{z}"
""",
    inputs=lambda p, rng: calls([*near(p["a"], p["b"], p["c"]), 0, 40]),
)

COLOR = Family(
    name="color",
    given="n",
    difficulty="interview",
    space={
        "a": (2, 3, 4, 5, 7, 9, 11),
        "b": (2, 3, 4, 5, 6, 7, 8, 10, 13),
        "x": FIRST,
        "y": SECOND,
        "z": THIRD,
    },
    is_sensible=lambda p: p["a"] % p["b"] != 0 and p["b"] % p["a"] != 0,
    phrases=(
        "'{x}' if n is divisible by {a} and {b}, '{y}' if only by {a}, '{z}' if only by {b}, "
        "and 'none' otherwise",
        "'{y}' if n is divisible by {a}, '{z}' if by {b}, '{x}' if by both, and 'none' otherwise",
        "'none' if n is divisible by neither {a} nor {b}, '{x}' if by both, '{y}' if by {a} only, "
        "else '{z}'",
    ),
    heldout_phrases=(
        "'{y}' if n is divisible by only {a}, '{z}' if by only {b}, '{x}' if by both, "
        "and 'none' otherwise",
        "'{x}' if n is divisible by both {a} and {b}, '{y}' if by {a}, '{z}' if by {b}, "
        "else 'none'",
    ),
    solution="""\
def color(n):
    if n % {a} == 0 and n % {b} == 0:
        return "{x}"
    elif n % {a} == 0:
        return "{y}"
    elif n % {b} == 0:
        return "{z}"
    return "none"
""",
    inputs=lambda p, rng: calls(
        [1, p["a"], p["b"], p["a"] * p["b"], 2 * p["a"] * p["b"] + 1, 17 * p["a"], 19 * p["b"]]
    ),
)

PRICE = Family(
    name="price",
    given="n",
    difficulty="interview",
    space={
        "a": tuple(range(3, 10)),
        "many": UPPER_BOUNDS,
        "c": tuple(range(4, 10)),
        "d": (2, 3, 5),
        "few": (LESS, AT_MOST),
        "e": (2, 3),
        "f": (1, 4, 6),
    },
    phrases=(
        "the price of n things at {a} each, minus {d} if n is {many} {c}, plus {f} if n is "
        "{few} {e}",
        "{a} times n, minus {d} when n is {many} {c} and plus {f} when n is {few} {e}",
        "the price of n things: {a} for each, {d} less if n is {many} {c} and {f} more if "
        "{few} {e}",
    ),
    heldout_phrases=(
        "the price of n things at {a} each, {d} less if n is {many} {c} and {f} more if n is "
        "{few} {e}",
        "{a} for each of n things, minus {d} if n is {many} {c} and plus {f} if n is {few} {e}",
    ),
    solution="""\
def price(n):
    total = n * {a}
    if n {many} {c}:
        total -= {d}
    if n {few} {e}:
        total += {f}
    return total
""",
    inputs=lambda p, rng: calls([0, *near(p["e"], p["c"]), 20]),
)

PICK = Family(
    name="pick",
    given="m, n",
    difficulty="interview",
    space={
        "join": (PLUS, TIMES),
        "compare": UPPER_BOUNDS,
        "c": tuple(range(2, 32)),
        "which": (Choice("larger", ">"), Choice("smaller", "<")),
        "a": (2, 3, 5),
    },
    phrases=(
        "the {which} of m and n if m {join} n is {compare} {c}, and m times {a} otherwise",
        "m times {a}, but the {which} of m and n when m {join} n is {compare} {c}",
        "the {which} of m and n when m {join} n is {compare} {c}, else m times {a}",
    ),
    heldout_phrases=(
        "the {which} of m and n when m {join} n is {compare} {c}, and m times {a} otherwise",
        "m times {a}, but if m {join} n is {compare} {c} the {which} of m and n",
    ),
    solution="""\
def pick(m, n):
    if m {join} n {compare} {c}:
        if m {which} n:
            return m
        return n
    return m * {a}
""",
    inputs=lambda p, rng: _pick_inputs(p),
)


def _pick_inputs(p: Parameters) -> list[list[int]]:
    """Pairs whose joined value is next to the bound, with either number the larger one."""
    c = p["c"]
    pairs = [[1, c + k] for k in (-2, -1, 0, 1)] + [[c + k, 1] for k in (-2, -1, 0, 1, 2)]
    return [*pairs, [c + 50, 50], [50, c + 51], [c // 2, 2]]


GAME = Family(
    name="game",
    given="xs",
    difficulty="competition",
    space={
        "a": (2, 3, 4, 5),
        "high": tuple(range(10, 21, 2)),
        "b": (1, 6),
        "low": tuple(range(3, 8)),
        "c": (1, 2),
        "most": tuple(range(12, 24, 2)),
    },
    phrases=(
        "the points of a game: minus {c} if a number is less than 0, {a} if greater than {high}, "
        "else {b} if greater than {low}, stop at 0, at most {most} points",
        "at most {most} points for xs, with {a} for each number greater than {high}, {b} for "
        "others greater than {low} and minus {c} for numbers less than 0; stop at 0",
        "the points of xs up to the first 0, at most {most}: {a} if greater than {high}, {b} if "
        "only greater than {low}, minus {c} if less than 0",
    ),
    heldout_phrases=(
        "the points of xs, at most {most}: {a} if a number is greater than {high}, else {b} if "
        "greater than {low}, minus {c} if less than 0, stop at 0",
        "the points of a game up to the first 0, at most {most}: minus {c} if less than 0, {a} for "
        "numbers greater than {high}, {b} for others greater than {low}",
    ),
    solution="""\
def game(xs):
    total = 0
    for x in xs:
        if x == 0:
            break
        if x < 0:
            total -= {c}
        elif x > {high}:
            total += {a}
        elif x > {low}:
            total += {b}
    if total > {most}:
        return {most}
    return total
""",
    inputs=lambda p, rng: _game_lists(p, rng),
)


def _game_lists(p: Parameters, rng: Random) -> list[list[list[int]]]:
    """Boundary lists without an early 0, a stop in the middle, and totals around the limit."""
    boundary = [[[x for x in xs if x != 0]] for [xs] in lists(rng, p["low"], p["high"])]
    small = [[[-1]], [[1, -2, 2, -7]], [[p["low"] + 1, -4, p["high"] + 1, 0, p["high"] + 2]]]
    full = [[[p["high"] + 1] * (p["most"] // p["a"]) + [p["low"] + 1] * k] for k in (0, 1, 2, 9)]
    return [*boundary[1:], *small, *full]


BRANCHES = (GRADE, COLOR, PRICE, PICK, GAME)
