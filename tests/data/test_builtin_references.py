"""What each family's words mean, written a second time and compared with what its tests expect."""

import operator
import random
from itertools import combinations, takewhile

import pytest

from stepcoder_jax.data.builtin.families import KNOWN_FAMILIES, UNSEEN_FAMILIES
from stepcoder_jax.data.builtin.family import Choice
from stepcoder_jax.data.builtin.problems import family_problem
from stepcoder_jax.data.builtin.wording import training_templates

FAMILIES = (*KNOWN_FAMILIES, *UNSEEN_FAMILIES)
MEANING = {
    "greater than": operator.gt,
    "less than": operator.lt,
    "at least": operator.ge,
    "at most": operator.le,
    "equal to": operator.eq,
    "plus": operator.add,
    "minus": operator.sub,
    "times": operator.mul,
    "sum": sum,
    "product": operator.mul,
    "count": len,
    "largest": max,
    "smallest": min,
    "larger": max,
    "smaller": min,
}
BETWEEN = {
    "at least {low} and at most {high}": lambda p, x: p.low <= x <= p.high,
    "greater than {low} and less than {high}": lambda p, x: p.low < x < p.high,
    "less than {low} or greater than {high}": lambda p, x: not p.low <= x <= p.high,
}


class Draw:
    """A draw's values as attributes, with each choice replaced by what its words mean."""

    def __init__(self, values):
        for name, value in values.items():
            words = value.words if isinstance(value, Choice) else value
            setattr(self, name, MEANING.get(words, words))


def points_of(p, xs):
    levels = [(p.upper, p.high, p.a), (p.lower, p.low, p.b)]
    return sum(next((gain for above, c, gain in levels if above(x, c)), -p.c) for x in xs)


def running_sum(p, xs):
    kept = [x for x in xs if not p.skip(x, p.a)]
    sums = [sum(kept[: k + 1]) for k in range(len(kept))]
    return next((s for s in sums if p.stop(s, p.b)), sums[-1] if sums else 0)


def letter_value(p, s):
    value = 1
    for step, amount in [
        (p.first, p.p) if c == p.a else (p.second, p.q) for c in s if c in p.a + p.b
    ]:
        value = step(value, amount)
    return value


def descent(p, n):
    return list(takewhile(lambda m: p.compare(m, p.b), range(n, -p.a * 40, -p.a)))


def steps_up(p, n):
    return 1 + steps_up(p, n * p.a + p.b) if p.compare(n, p.c) else 0


def game(p, xs):
    scored = list(takewhile(lambda x: x != 0, xs))
    high = [x for x in scored if x > p.high]
    middle = [x for x in scored if p.low < x <= p.high]
    below = [x for x in scored if x < 0]
    return min(p.most, p.a * len(high) + p.b * len(middle) - p.c * len(below))


def numbers(text):
    return [int(part) for part in text.split()]


def lines(values):
    return "".join(f"{value}\n" for value in values)


def multiples(p, n):
    return [m for m in range(p.a, n + 1, p.a) if p.compare(m, p.b)]


REFERENCES = {
    "scale": lambda p, n: p.sign(p.a * n, p.b),
    "clamp": lambda p, n: sorted([p.low, n, p.high])[1],
    "choose_step": lambda p, n: p.first(n, p.a) if p.compare(n, p.c) else p.second(n, p.b),
    "sum_multiples": lambda p, n: p.tally(multiples(p, n)),
    "count_steps": lambda p, n: len(descent(p, n)),
    "digit_total": lambda p, n: (
        p.start + p.tally([int(d) for d in str(n) if n > 0 and p.compare(int(d), p.c)])
    ),
    "filter_total": lambda p, xs: p.tally([x for x in xs if p.compare(x, p.a)]),
    "between_total": lambda p, xs: p.tally([x for x in xs if BETWEEN[p.where](p, x)]),
    "shift_some": lambda p, xs: [x + (p.a if p.compare(x, p.c) else -p.b) for x in xs],
    "points": points_of,
    "best_of": lambda p, xs: p.which([x for x in xs if p.compare(x, p.a)], default=p.b),
    "first_place": lambda p, xs: [*(k for k, x in enumerate(xs) if p.compare(x, p.a)), p.b][0],
    "count_pairs": lambda p, xs: sum(p.compare(p.join(x, y), p.a) for x, y in combinations(xs, 2)),
    "running_sum": running_sum,
    "count_letters": lambda p, s: p.step * (s.count(p.a) + s.count(p.b)),
    "swap_letters": lambda p, s: s.translate(str.maketrans(p.a + p.c, p.b + p.d)),
    "name_length": lambda p, s: p.x if len(s) < p.low else p.y if len(s) > p.high else p.z,
    "letter_value": letter_value,
    "grade": lambda p, n: (p.w, p.x, p.y, p.z)[
        sum(not p.compare(n, bound) for bound in (p.a, p.b, p.c))
    ],
    "color": lambda p, n: {(1, 1): p.x, (1, 0): p.y, (0, 1): p.z, (0, 0): "none"}[
        (n % p.a == 0, n % p.b == 0)
    ],
    "price": lambda p, n: n * p.a - p.d * p.many(n, p.c) + p.f * p.few(n, p.e),
    "pick": lambda p, m, n: p.which(m, n) if p.compare(p.join(m, n), p.c) else m * p.a,
    "game": game,
    "print_scale": lambda p, text: f"{p.sign(p.a * int(text), p.b)}\n",
    "print_word": lambda p, text: f"{p.x if p.compare(int(text), p.a) else p.y}\n",
    "print_multiples": lambda p, text: lines(multiples(p, int(text))),
    "line_total": lambda p, text: (
        f"{p.start + p.tally([x for x in numbers(text) if p.compare(x, p.a)])}\n"
    ),
    "countdown": lambda p, text: lines(descent(p, int(text))),
    "ladder": lambda p, n: 1 + sum(not p.compare(n, bound) for bound in (p.a, p.b, p.c, p.d)),
    "limit_list": lambda p, xs: [p.a if x < p.low else p.b if x > p.high else x for x in xs],
    "divisible_total": lambda p, xs: p.tally([x for x in xs if not x % p.a and x % p.b]),
    "letter_points": lambda p, s: sum({p.a: p.p, p.b: p.q}.get(c, p.r) for c in s),
    "grow_steps": steps_up,
    "word_lines": lambda p, text: lines(p.x if p.compare(x, p.a) else p.y for x in numbers(text)),
}


def test_every_family_has_a_reference():
    assert set(REFERENCES) == {family.name for family in FAMILIES}


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_expected_outputs_are_what_the_words_say(family):
    for values in random.Random(0).sample(list(family.draws()), k=25):
        tests = family_problem(family, values, training_templates(family)[0]).tests
        draw = Draw(values)
        if family.name == "count_pairs":
            draw.join = operator.add if draw.join is sum else draw.join
        for given, wanted in zip(tests.inputs, tests.outputs, strict=True):
            arguments = [given] if family.style == "stdio" else given
            assert REFERENCES[family.name](draw, *arguments) == wanted
