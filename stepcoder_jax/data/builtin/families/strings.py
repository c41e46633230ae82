"""Families over a text: counting, changing and measuring."""

from stepcoder_jax.data.builtin.family import Family
from stepcoder_jax.data.builtin.inputs import near, words
from stepcoder_jax.data.builtin.vocabulary import LABELS, PLUS, TIMES

LETTERS = tuple("abcdefghijklmnopqrstuvwxyz")

COUNT_LETTERS = Family(
    name="count_letters",
    given="s",
    difficulty="introductory",
    space={"a": LETTERS, "b": LETTERS, "step": (2, 3, 5)},
    is_sensible=lambda p: p["a"] < p["b"],
    phrases=(
        "{step} times the count of letters in s that are '{a}' or '{b}'",
        "the points of s if each letter '{a}' or '{b}' gives {step}",
        "the count of '{a}' and '{b}' in s, times {step}",
    ),
    heldout_phrases=(
        "{step} times the count of '{a}' and '{b}' in s",
        "the count of letters in s that are '{a}' or '{b}', times {step}",
    ),
    solution="""\
def count_letters(s):
    total = 0
    for c in s:
        if c == "{a}" or c == "{b}":
            total += {step}
    return total
""",
    inputs=lambda p, rng: words(rng, p["a"] + p["b"]),
)

SWAP_LETTERS = Family(
    name="swap_letters",
    given="s",
    difficulty="interview",
    space={
        "a": ("a", "c", "h", "m", "p", "t"),
        "b": ("b", "e", "k", "o", "s", "x"),
        "c": ("d", "g", "l", "n", "r", "u"),
        "d": ("f", "i", "j", "q", "v", "w"),
    },
    phrases=(
        "s with each '{a}' made '{b}' and each '{c}' made '{d}'",
        "s where '{b}' takes the place of '{a}' and '{d}' takes the place of '{c}'",
        "the letters of s, but '{b}' for '{a}' and '{d}' for '{c}'",
    ),
    heldout_phrases=(
        "s, but with '{b}' for each '{a}' and '{d}' for each '{c}'",
        "the letters of s with each '{a}' made '{b}' and each '{c}' made '{d}'",
    ),
    solution="""\
def swap_letters(s):
    result = ""
    for c in s:
        if c == "{a}":
            result += "{b}"
        elif c == "{c}":
            result += "{d}"
        else:
            result += c
    return result
""",
    inputs=lambda p, rng: words(rng, p["a"] + p["b"] + p["c"] + p["d"]),
)

NAME_LENGTH = Family(
    name="name_length",
    given="s",
    difficulty="introductory",
    space={
        "low": tuple(range(2, 9)),
        "high": tuple(range(6, 16)),
        "x": tuple(v[0] for v in LABELS),
        "y": tuple(v[2] for v in LABELS),
        "z": tuple(v[1] for v in LABELS),
    },
    is_sensible=lambda p: p["low"] + 1 < p["high"],
    phrases=(
        "'{x}' if the length of s is less than {low}, '{y}' if it is greater than {high}, "
        "and '{z}' otherwise",
        "'{z}', but '{x}' if s has less than {low} letters and '{y}' if s has more than {high}",
        "'{x}' when s has less than {low} letters, '{y}' when s has more than {high}, else '{z}'",
    ),
    heldout_phrases=(
        "'{x}' if s has less than {low} letters, '{y}' if s has more than {high}, "
        "and '{z}' otherwise",
        "'{z}', but '{x}' when the length of s is less than {low} and '{y}' when it is greater "
        "than {high}",
    ),
    solution="""\
def name_length(s):
    if len(s) < {low}:
        return "{x}"
    if len(s) > {high}:
        return "{y}"
    return "{z}"
""",
    inputs=lambda p, rng: [["ab" * n + "c" * (m - 2 * n)] for n, m in _halves(p["low"], p["high"])],
)


def _halves(low: int, high: int) -> list[tuple[int, int]]:
    return [(m // 2, m) for m in [*near(low, high), 0, high + 5]]


LETTER_VALUE = Family(
    name="letter_value",
    given="s",
    difficulty="interview",
    space={
        "a": tuple("abcdefghklmnoprst"),
        "first": (PLUS, TIMES),
        "p": (2, 3, 5),
        "b": tuple("aeioutnrs"),
        "second": (PLUS, TIMES),
        "q": (2, 4, 6),
    },
    is_sensible=lambda p: p["a"] != p["b"] and p["first"] != p["second"],
    phrases=(
        "the value after s: start at 1, {first} {p} for each '{a}' and {second} {q} for each '{b}'",
        "the value of s, that starts at 1 and is {first} {p} at '{a}' and {second} {q} at '{b}'",
        "the value of s, where 1 is made {first} {p} by each '{a}' and {second} {q} by each '{b}'",
    ),
    heldout_phrases=(
        "the value after s: start at 1, then {first} {p} at each '{a}' and {second} {q} at '{b}'",
        "the value of s, that starts at 1, {first} {p} for each '{a}' and {second} {q} for "
        "each '{b}'",
    ),
    solution="""\
def letter_value(s):
    n = 1
    for c in s:
        if c == "{a}":
            n = n {first} {p}
        elif c == "{b}":
            n = n {second} {q}
    return n
""",
    inputs=lambda p, rng: words(rng, p["a"] + p["b"]),
)

STRINGS = (COUNT_LETTERS, SWAP_LETTERS, NAME_LENGTH, LETTER_VALUE)
