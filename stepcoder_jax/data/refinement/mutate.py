"""Inputs like those that are there: of the same shape, from the values that were seen.

What a problem allows is only known from its inputs, so a mutant stays near them: numbers within the
range seen, texts from the characters seen, lists no longer than the longest, and of standard input
the same lines and tokens, where a number that counts what follows is left alone; and what all
inputs show of their lists (``promises``) is kept.
"""

import copy
import json
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from stepcoder_executor import IoTests

from stepcoder_jax.data.refinement.promises import call_promises, text_promises

_INTEGER = re.compile(r"[+-]?\d{1,30}")
# Larger inputs are not mutated: they are there to be slow, and a mutant says nothing new.
MAX_INPUT_CHARS = 20_000
_FEW = 4


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What a problem's inputs are made of.

    Attributes:
      integers, floats: every number.
      letters: every character of its texts.
      longest: entries of its longest list.
    """

    integers: tuple[int, ...]
    floats: tuple[float, ...]
    letters: str
    longest: int


def mutants(tests: IoTests, rng: random.Random) -> Iterator[Any]:
    """Yields new inputs without end, each once, or until nothing new can be thought of."""
    bases = [entry for entry in tests.inputs if len(_text(entry)) <= MAX_INPUT_CHARS]
    known = {_text(entry) for entry in tests.inputs}
    if not bases:
        return
    is_text = tests.fn_name is None
    seen = seen_in([entry.split() for entry in bases] if is_text else bases)
    promises: Any = text_promises(bases) if is_text else call_promises(bases)
    misses = 0
    while misses < 50:
        made = promises.kept((_mutant_text if is_text else _mutant_call)(bases, seen, rng))
        text = _text(made)
        if made is None or text in known or len(text) > MAX_INPUT_CHARS:
            misses += 1
            continue
        misses = 0
        known.add(text)
        yield made


def seen_in(value: Any) -> Seen:
    """The parts of a JSON value; texts that are integers count as such."""
    integers: list[int] = []
    floats: list[float] = []
    letters: set[str] = set()
    longest = 0
    todo = [value]
    while todo:
        match todo.pop():
            case bool() | None:
                pass
            case int(number):
                integers.append(number)
            case float(number):
                floats.append(number)
            case str(text) if _INTEGER.fullmatch(text):
                integers.append(int(text))
            case str(text):
                letters.update(text)
            case dict(fields):
                todo += [*fields, *fields.values()]
            case list(items) | tuple(items):
                longest = max(longest, len(items))
                todo += items
    return Seen(
        integers=tuple(sorted(set(integers))),
        floats=tuple(sorted(set(floats))),
        letters="".join(sorted(letters)),
        longest=longest,
    )


def _mutant_call(bases: Sequence[Any], seen: Seen, rng: random.Random) -> list[Any]:
    """Arguments, some of them changed or taken from another call."""
    arguments = copy.deepcopy(list(rng.choice(bases)))
    if not arguments:
        return arguments
    for _ in range(_how_many(len(arguments), rng)):
        place = rng.randrange(len(arguments))
        other, way = rng.choice(bases), rng.random()
        if way < 0.25 and len(other) == len(arguments):
            arguments[place] = copy.deepcopy(other[place])
        elif way < 0.4:
            arguments[place] = _alike(arguments[place], rng.choice(arguments))
        else:
            arguments[place] = _changed(arguments[place], seen, rng)
    return arguments


def _mutant_text(bases: Sequence[str], seen: Seen, rng: random.Random) -> str:
    """Standard input in which some tokens, or the order of a line's, are others."""
    lines = [re.split(r"(\s+)", line) for line in rng.choice(bases).split("\n")]
    free = [(row, k) for row, line in enumerate(lines) for k in _free_tokens(lines, row, line)]
    if not free:
        return "\n".join("".join(line) for line in lines)
    for _ in range(_how_many(len(free), rng)):
        row, place = rng.choice(free)
        way = rng.random()
        if way < 0.2:
            places = [k for line, k in free if line == row]
            shuffled = rng.sample(places, len(places))
            moved = [lines[row][k] for k in shuffled]
            for k, token in zip(places, moved, strict=True):
                lines[row][k] = token
        elif way < 0.4:
            other_row, other = rng.choice(free)
            lines[row][place] = _alike(lines[row][place], lines[other_row][other])
        else:
            lines[row][place] = _changed_token(lines[row][place], seen, rng)
    return "\n".join("".join(line) for line in lines)


def _alike(value: Any, other: Any) -> Any:
    """The other value, where both are integers: a wrong comparison is seen where two are equal."""
    texts = isinstance(value, str) and isinstance(other, str)
    if texts and _INTEGER.fullmatch(value) and _INTEGER.fullmatch(other):
        return other
    return other if type(value) is int and type(other) is int else value


def _how_many(places: int, rng: random.Random) -> int:
    """How many changes to make: mostly few, sometimes as many as there are places.

    A program that is wrong where two values meet is seen only when both are others.
    """
    return rng.choice((1, 1, 2, 3, places, places))


def _free_tokens(lines: Sequence[Sequence[str]], row: int, line: Sequence[str]) -> list[int]:
    """Places of the tokens of a line that do not seem to count the lines or tokens that follow."""
    after = [sum(bool(token.strip()) for token in other) for other in lines[row + 1 :]]
    filled = sum(1 for count in after if count)
    own = sum(bool(token.strip()) for token in line)
    counts = {filled, after[0] if after else -1, own - 1 if own > 1 else -1}
    lengths = {len("".join(lines[row + 1]).strip())} if after else set()
    return [
        k
        for k, token in enumerate(line)
        if token.strip() and not (_INTEGER.fullmatch(token) and int(token) in counts | lengths)
    ]


def _changed_token(token: str, seen: Seen, rng: random.Random) -> str:
    if _INTEGER.fullmatch(token):
        return str(_integer(int(token), seen, rng))
    return _shuffled_text(token, seen.letters or token, rng)


def _changed(value: Any, seen: Seen, rng: random.Random) -> Any:
    match value:
        case bool():
            return not value
        case int():
            return _integer(value, seen, rng)
        case float():
            return rng.choice([*seen.floats, round(value * rng.uniform(0.5, 1.5), 3)])
        case str() if _INTEGER.fullmatch(value):
            return str(_integer(int(value), seen, rng)).zfill(len(value))
        case str():
            return _changed_text(value, seen, rng)
        case list():
            return _changed_list(value, seen, rng)
        case dict() if value:
            key = rng.choice(list(value))
            return {**value, key: _changed(value[key], seen, rng)}
    return value


def _integer(value: int, seen: Seen, rng: random.Random) -> int:
    low, high = min(seen.integers), max(seen.integers)
    if len(seen.integers) < _FEW:
        # Too few to tell a range from.
        low, high = min(low, 1 if low > 0 else 2 * low), max(2 * high, high)
    edges = [edge for edge in (-1, 0, 1, 2) if low <= edge <= high]
    match rng.randrange(5):
        case 0:
            return rng.choice(seen.integers)
        case 1:
            return min(max(value + rng.choice((-1, 1)), low), high)
        case 2:
            return rng.choice((low, high))
        case 3 if edges:
            return rng.choice(edges)
    return rng.randint(low, high)


def _changed_text(text: str, seen: Seen, rng: random.Random) -> str:
    place = rng.randrange(len(text) + 1)
    match rng.randrange(4):
        case 0 if len(text) > 1:
            return text[:place] + text[place + 1 :]
        case 1 if seen.letters:
            return text[:place] + rng.choice(seen.letters) + text[place:]
        case 2:
            return text[::-1]
    return _shuffled_text(text, seen.letters, rng)


def _shuffled_text(text: str, letters: str, rng: random.Random) -> str:
    """A text of the same length: its characters in another order, or one of them another."""
    if rng.random() < 0.4 or not letters or not text:
        return "".join(rng.sample(text, len(text)))
    place = rng.randrange(len(text))
    same_kind = [letter for letter in letters if _kind(letter) == _kind(text[place])]
    return text[:place] + rng.choice(same_kind or [text[place]]) + text[place + 1 :]


def _kind(letter: str) -> tuple[bool, bool, bool]:
    return letter.isdigit(), letter.isupper(), letter.islower()


def _changed_list(items: list[Any], seen: Seen, rng: random.Random) -> list[Any]:
    changed = list(items)
    is_table = bool(items) and all(isinstance(item, list) for item in items)
    match rng.randrange(6):
        case 0 if len(items) > 1 and not is_table:
            changed.pop(rng.randrange(len(items)))
        case 1 if 0 < len(items) < seen.longest and not is_table:
            changed.insert(rng.randrange(len(items) + 1), copy.deepcopy(rng.choice(items)))
        case 2:
            rng.shuffle(changed)
        case 3:
            changed.reverse()
        case _ if items:
            for _ in range(_how_many(len(items), rng)):
                place = rng.randrange(len(items))
                changed[place] = _changed(changed[place], seen, rng)
    return changed


def _text(entry: Any) -> str:
    return json.dumps(entry, sort_keys=True)
