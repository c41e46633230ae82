"""Families that no split but `unseen_families` draws from: new programs made of known parts."""

from stepcoder_jax.data.builtin.families.stdio import number_lines
from stepcoder_jax.data.builtin.family import Choice, Family
from stepcoder_jax.data.builtin.inputs import calls, lists, near, words
from stepcoder_jax.data.builtin.vocabulary import COMPARISONS, LABELS, LESS, tally

LADDER = Family(
    name="ladder",
    given="n",
    difficulty="interview",
    space={
        "a": (2, 3, 4, 5),
        "b": (7, 8, 9, 10),
        "c": (12, 13, 15, 18),
        "d": (20, 25, 28, 30),
        "compare": (LESS, Choice("at most", "<=")),
    },
    phrases=(
        "1 if n is {compare} {a}, 2 if {compare} {b}, 3 if {compare} {c}, 4 if {compare} {d}, "
        "and 5 otherwise",
        "1 when n is {compare} {a}, else 2 when {compare} {b}, else 3 when {compare} {c}, "
        "else 4 when {compare} {d}, else 5",
    ),
    heldout_phrases=(
        "5, but 1 if n is {compare} {a}, 2 if {compare} {b}, 3 if {compare} {c} and 4 if "
        "{compare} {d}",
    ),
    solution="""\
def ladder(n):
    if n {compare} {a}:
        return 1
    elif n {compare} {b}:
        return 2
    elif n {compare} {c}:
        return 3
    elif n {compare} {d}:
        return 4
    return 5
""",
    inputs=lambda p, rng: calls([0, *near(p["a"], p["b"], p["c"], p["d"]), 50]),
)

LIMIT_LIST = Family(
    name="limit_list",
    given="xs",
    difficulty="interview",
    space={
        "low": tuple(range(2, 12)),
        "high": tuple(range(14, 24)),
        "a": (0, 1, 12),
        "b": (13, 30, 99),
    },
    phrases=(
        "the list xs with each number less than {low} made {a} and each number greater than "
        "{high} made {b}",
        "the numbers of xs, but {a} for each number less than {low} and {b} for each number "
        "greater than {high}",
    ),
    heldout_phrases=(
        "a list with {a} for each x in xs that is less than {low}, {b} if it is greater than "
        "{high}, and x otherwise",
    ),
    solution="""\
def limit_list(xs):
    result = []
    for x in xs:
        if x < {low}:
            result.append({a})
        elif x > {high}:
            result.append({b})
        else:
            result.append(x)
    return result
""",
    inputs=lambda p, rng: lists(rng, p["low"], p["high"]),
)

DIVISIBLE_TOTAL = Family(
    name="divisible_total",
    given="xs",
    difficulty="introductory",
    space={"tally": tally("x"), "a": tuple(range(2, 13)), "b": tuple(range(2, 13))},
    is_sensible=lambda p: p["a"] % p["b"] != 0,
    phrases=(
        "the {tally} of the numbers in xs that are divisible by {a} and not by {b}",
        "the {tally} of all numbers in xs divisible by {a} but not by {b}",
    ),
    heldout_phrases=("the {tally} of those multiples of {a} in xs that are not divisible by {b}",),
    solution="""\
def divisible_total(xs):
    total = 0
    for x in xs:
        if x % {a} == 0 and x % {b} != 0:
            total += {tally}
    return total
""",
    inputs=lambda p, rng: [
        [[]],
        [[p["a"]]],
        [[p["a"] * p["b"]]],
        [[p["a"] * k for k in range(1, 25)]],
        [[p["b"] * k for k in range(1, 9)]],
        [list(range(1, 41))],
        [[rng.randint(1, 200) for _ in range(30)]],
    ],
)

LETTER_POINTS = Family(
    name="letter_points",
    given="s",
    difficulty="interview",
    space={
        "a": tuple("bcdfgh"),
        "p": (2, 3, 5, 7),
        "b": tuple("aeioul"),
        "q": (4, 6, 8),
        "r": (1, 9),
    },
    phrases=(
        "the points of s, where '{a}' gives {p}, '{b}' gives {q} and each other letter gives {r}",
        "the sum of points for s: {p} for each '{a}', {q} for each '{b}' and {r} otherwise",
    ),
    heldout_phrases=(
        "the points of s if each letter '{a}' gives {p}, each '{b}' gives {q} and the others {r}",
    ),
    solution="""\
def letter_points(s):
    total = 0
    for c in s:
        if c == "{a}":
            total += {p}
        elif c == "{b}":
            total += {q}
        else:
            total += {r}
    return total
""",
    inputs=lambda p, rng: words(rng, p["a"] + p["b"]),
)

GROW_STEPS = Family(
    name="grow_steps",
    given="n",
    difficulty="interview",
    space={
        "a": (2, 3, 4, 5),
        "b": tuple(range(1, 10)),
        "compare": (LESS, Choice("at most", "<=")),
        "c": tuple(range(20, 60, 3)),
    },
    phrases=(
        "how many steps it takes if each step makes n {a} times n plus {b} while n is "
        "{compare} {c}",
        "the count of steps when n is made {a} times n plus {b} as long as n is {compare} {c}",
    ),
    heldout_phrases=("how many times n can be made {a} times n plus {b} while n is {compare} {c}",),
    solution="""\
def grow_steps(n):
    count = 0
    while n {compare} {c}:
        n = n * {a} + {b}
        count += 1
    return count
""",
    inputs=lambda p, rng: calls(
        [0, 1, 2, 3, *near((p["c"] - p["b"]) // p["a"], p["c"]), *range(4, 12), 80]
    ),
)

WORD_LINES = Family(
    name="word_lines",
    given="a line of numbers",
    style="stdio",
    difficulty="interview",
    space={
        "compare": COMPARISONS,
        "a": tuple(range(3, 23)),
        "x": tuple(words[0] for words in LABELS),
        "y": tuple(words[2] for words in LABELS),
    },
    phrases=(
        "'{x}' for each number that is {compare} {a}, and '{y}' for each other number, one a line",
        "for each number '{x}' if it is {compare} {a}, and '{y}' otherwise, one a line",
    ),
    heldout_phrases=("'{y}' for each number, but '{x}' if it is {compare} {a}, one a line",),
    solution="""\
for x in map(int, input().split()):
    if x {compare} {a}:
        print("{x}")
    else:
        print("{y}")
""",
    inputs=lambda p, rng: [
        *number_lines(near(p["a"])),
        *(" ".join(map(str, xs)) + "\n" for [xs] in lists(rng, p["a"])[2:]),
    ],
)

UNSEEN = (LADDER, LIMIT_LIST, DIVISIBLE_TOTAL, LETTER_POINTS, GROW_STEPS, WORD_LINES)
