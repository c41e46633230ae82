"""Families that read standard input and print."""

from stepcoder_jax.data.builtin.family import Family
from stepcoder_jax.data.builtin.inputs import lists, near, range_ends
from stepcoder_jax.data.builtin.vocabulary import (
    COMPARISONS,
    LABELS,
    MINUS,
    PLUS,
    UPPER_BOUNDS,
    tally,
)

LABEL_WORDS = (*(words[0] for words in LABELS), "yes", "no")


def number_lines(numbers: list[int]) -> list[str]:
    """Make one test per number: the number alone on a line."""
    return [f"{n}\n" for n in dict.fromkeys(numbers)]


PRINT_SCALE = Family(
    name="print_scale",
    given="a number n",
    style="stdio",
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
n = int(input())
print(n * {a} {sign} {b})
""",
    inputs=lambda p, rng: number_lines([0, 1, 2, -3, 10, rng.randint(11, 40)]),
)

PRINT_WORD = Family(
    name="print_word",
    given="a number n",
    style="stdio",
    difficulty="introductory",
    space={
        "compare": COMPARISONS,
        "a": tuple(range(3, 33)),
        "x": LABEL_WORDS,
        "y": LABEL_WORDS,
    },
    is_sensible=lambda p: p["x"] != p["y"],
    phrases=(
        "'{x}' if n is {compare} {a}, and '{y}' otherwise",
        "'{y}', but '{x}' if n is {compare} {a}",
        "'{x}' when n is {compare} {a}, else '{y}'",
    ),
    heldout_phrases=(
        "'{x}' when n is {compare} {a}, and '{y}' otherwise",
        "'{y}', but '{x}' when n is {compare} {a}",
    ),
    solution="""\
n = int(input())
if n {compare} {a}:
    print("{x}")
else:
    print("{y}")
""",
    inputs=lambda p, rng: number_lines([*near(p["a"]), 0, -7, 50]),
)

PRINT_MULTIPLES = Family(
    name="print_multiples",
    given="a number n",
    style="stdio",
    difficulty="introductory",
    space={
        "a": tuple(range(2, 13)),
        "compare": COMPARISONS,
        "b": tuple(range(4, 31)),
    },
    is_sensible=lambda p: p["a"] < p["b"],
    phrases=(
        "the numbers from 1 to n that are divisible by {a} and {compare} {b}, one a line",
        "all numbers up to n that are {compare} {b} and divisible by {a}, one a line",
        "the multiples of {a} from 1 to n that are {compare} {b}, one a line",
    ),
    heldout_phrases=(
        "all multiples of {a} up to n that are {compare} {b}, one a line",
        "the numbers from 1 to n that are {compare} {b} and divisible by {a}, one a line",
    ),
    solution="""\
n = int(input())
for i in range(1, n + 1):
    if i % {a} == 0 and i {compare} {b}:
        print(i)
""",
    inputs=lambda p, rng: number_lines(range_ends(p["a"], p["b"])),
)

LINE_TOTAL = Family(
    name="line_total",
    given="a line of numbers",
    style="stdio",
    difficulty="interview",
    space={
        "tally": tally("x"),
        "compare": COMPARISONS,
        "a": tuple(range(2, 41)),
        "start": (1, 2, 3, 5, 10),
    },
    phrases=(
        "{start} plus the {tally} of the numbers that are {compare} {a}",
        "the {tally} of all numbers {compare} {a}, plus {start}",
        "the {tally} of those numbers that are {compare} {a}, plus {start}",
    ),
    heldout_phrases=(
        "the {tally} of all numbers that are {compare} {a}, plus {start}",
        "{start} plus the {tally} of those numbers {compare} {a}",
    ),
    solution="""\
total = {start}
for x in map(int, input().split()):
    if x {compare} {a}:
        total += {tally}
print(total)
""",
    inputs=lambda p, rng: [" ".join(map(str, xs)) + "\n" for [xs] in lists(rng, p["a"])],
)

COUNTDOWN = Family(
    name="countdown",
    given="a number n",
    style="stdio",
    difficulty="interview",
    space={
        "a": tuple(range(2, 16)),
        "compare": UPPER_BOUNDS,
        "b": tuple(range(1, 26)),
    },
    phrases=(
        "n, then n minus {a} and so on, while it is {compare} {b}, one a line",
        "n while it is {compare} {b}, each time with {a} taken from n, one a line",
        "each n as {a} is taken from n again and again while n is {compare} {b}, one a line",
    ),
    heldout_phrases=(
        "n again and again while n is {compare} {b}, each time with {a} taken from it, one a line",
        "n, then n minus {a} and so on, as long as n is {compare} {b}, one a line",
    ),
    solution="""\
n = int(input())
while n {compare} {b}:
    print(n)
    n -= {a}
""",
    inputs=lambda p, rng: number_lines(
        [0, *near(p["b"], p["b"] + p["a"]), p["b"] + 3 * p["a"], p["b"] + 5 * p["a"] + 1]
    ),
)

STDIO = (PRINT_SCALE, PRINT_WORD, PRINT_MULTIPLES, LINE_TOTAL, COUNTDOWN)
