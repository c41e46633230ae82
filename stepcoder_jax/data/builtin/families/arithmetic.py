"""Families over one number: formulas, bounds, counting loops and digits."""

from stepcoder_jax.data.builtin.family import Family
from stepcoder_jax.data.builtin.inputs import calls, near, range_ends
from stepcoder_jax.data.builtin.vocabulary import (
    COMPARISONS,
    LESS,
    MINUS,
    PLUS,
    TIMES,
    UPPER_BOUNDS,
    tally,
)

SCALE = Family(
    name="scale",
    given="n",
    difficulty="introductory",
    space={"a": tuple(range(2, 21)), "sign": (PLUS, MINUS), "b": tuple(range(1, 21))},
    phrases=(
        "{a} times n {sign} {b}",
        "n times {a}, then {sign} {b}",
        "the product of n and {a}, {sign} {b}",
    ),
    heldout_phrases=(
        "n times {a} {sign} {b}",
        "the product of {a} and n, then {sign} {b}",
    ),
    solution="""\
def scale(n):
    return n * {a} {sign} {b}
""",
    inputs=lambda p, rng: calls([0, 1, 2, -3, 10, rng.randint(11, 40)]),
)

CLAMP = Family(
    name="clamp",
    given="n",
    difficulty="introductory",
    space={"low": tuple(range(1, 21)), "high": tuple(range(8, 41))},
    is_sensible=lambda p: p["low"] + 2 < p["high"],
    phrases=(
        "{low} if n is less than {low}, {high} if n is greater than {high}, and n otherwise",
        "n, but {low} if n is less than {low} and {high} if n is greater than {high}",
        "the number n made at least {low} and at most {high}",
    ),
    heldout_phrases=(
        "n made at least {low} and at most {high}",
        "n, but {high} if n is greater than {high} and {low} if n is less than {low}",
    ),
    solution="""\
def clamp(n):
    if n < {low}:
        return {low}
    if n > {high}:
        return {high}
    return n
""",
    inputs=lambda p, rng: calls([*near(p["low"], p["high"]), 0, 50, -p["low"]]),
)

CHOOSE_STEP = Family(
    name="choose_step",
    given="n",
    difficulty="introductory",
    space={
        "compare": COMPARISONS,
        "c": tuple(range(4, 20)),
        "first": (PLUS, MINUS, TIMES),
        "a": (2, 3, 5, 7),
        "second": (PLUS, MINUS, TIMES),
        "b": (2, 4, 6),
    },
    is_sensible=lambda p: p["first"] != p["second"],
    phrases=(
        "n {first} {a} if n is {compare} {c}, and n {second} {b} otherwise",
        "n {second} {b}, but n {first} {a} if n is {compare} {c}",
        "n {first} {a} when n is {compare} {c}, and n {second} {b} when it is not",
    ),
    heldout_phrases=(
        "n {first} {a} when n is {compare} {c}, and n {second} {b} otherwise",
        "n {second} {b}, but when n is {compare} {c} it is n {first} {a}",
    ),
    solution="""\
def choose_step(n):
    if n {compare} {c}:
        return n {first} {a}
    return n {second} {b}
""",
    inputs=lambda p, rng: calls([*near(p["c"]), 0, -5, 1, p["c"] + 12, p["c"] + 30]),
)

SUM_MULTIPLES = Family(
    name="sum_multiples",
    given="n",
    difficulty="interview",
    space={
        "tally": tally("i"),
        "a": tuple(range(2, 13)),
        "compare": COMPARISONS,
        "b": tuple(range(3, 31)),
    },
    is_sensible=lambda p: p["a"] < p["b"],
    phrases=(
        "the {tally} of the numbers from 1 to n that are divisible by {a} and {compare} {b}",
        "the {tally} of all numbers up to n that are {compare} {b} and divisible by {a}",
        "the {tally} of the multiples of {a} from 1 to n that are {compare} {b}",
    ),
    heldout_phrases=(
        "the {tally} of all multiples of {a} up to n that are {compare} {b}",
        "the {tally} of the numbers from 1 to n that are {compare} {b} and divisible by {a}",
    ),
    solution="""\
def sum_multiples(n):
    total = 0
    for i in range(1, n + 1):
        if i % {a} == 0 and i {compare} {b}:
            total += {tally}
    return total
""",
    inputs=lambda p, rng: calls(range_ends(p["a"], p["b"])),
)

COUNT_STEPS = Family(
    name="count_steps",
    given="n",
    difficulty="interview",
    space={
        "a": tuple(range(2, 16)),
        "compare": UPPER_BOUNDS,
        "b": tuple(range(1, 26)),
    },
    phrases=(
        "how many times {a} can be taken from n while n is {compare} {b}",
        "the count of steps when {a} is taken from n as long as n is {compare} {b}",
        "how many steps it takes if each step takes {a} from n while n is {compare} {b}",
    ),
    heldout_phrases=(
        "how many times {a} can be taken from n as long as n is {compare} {b}",
        "the count of steps when each step takes {a} from n while n is {compare} {b}",
    ),
    solution="""\
def count_steps(n):
    count = 0
    while n {compare} {b}:
        n -= {a}
        count += 1
    return count
""",
    inputs=lambda p, rng: calls(
        [0, *near(p["b"], p["b"] + p["a"]), p["b"] + 7 * p["a"], p["b"] + 11 * p["a"] + 1]
    ),
)

DIGIT_TOTAL = Family(
    name="digit_total",
    given="n",
    difficulty="interview",
    space={
        "start": tuple(range(1, 10)),
        "tally": tally("d"),
        "compare": COMPARISONS,
        "c": tuple(range(1, 9)),
    },
    is_sensible=lambda p: p["compare"] is not LESS or p["c"] > 1,
    phrases=(
        "{start} plus the {tally} of the digits of n that are {compare} {c}",
        "the {tally} of all digits {compare} {c} in n, plus {start}",
        "the {tally} of those digits of n that are {compare} {c}, plus {start}",
    ),
    heldout_phrases=(
        "{start} plus the {tally} of all digits {compare} {c} in n",
        "the {tally} of the digits of n that are {compare} {c}, plus {start}",
    ),
    solution="""\
def digit_total(n):
    total = {start}
    while n > 0:
        d = n % 10
        if d {compare} {c}:
            total += {tally}
        n //= 10
    return total
""",
    inputs=lambda p, rng: calls([0, *near(p["c"]), 123456789, 9080706, rng.randint(100, 99999)]),
)

ARITHMETIC = (SCALE, CLAMP, CHOOSE_STEP, SUM_MULTIPLES, COUNT_STEPS, DIGIT_TOTAL)
