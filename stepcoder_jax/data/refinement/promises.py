"""What all inputs of a problem show of their lists, and inputs made to keep it.

A question often says that numbers come sorted, that no two are alike, that they are 1 to n in some
order, that one argument is the length of another. A made input that breaks this may be answered
alike by the solutions at hand and otherwise by one that is just as right.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise, permutations
from typing import Any, Literal

Order = Literal["any", "distinct", "sorted", "increasing", "from 0", "from 1"]
# How unlikely it must be that a list is in its order by chance: one of four entries is enough.
_LEAST_ORDERS = 24
_LEAST_PAIRS = 20
_LEAST_LENGTH = 3
_INTEGER = re.compile(r"-?\d{1,30}")


def order_of(lists: Sequence[Sequence[Any]]) -> Order:
    """What lists that stand in one place of all inputs have in common.

    Lists of consecutive numbers, as 1 2 3, prove nothing: examples are often written like that.
    """
    if not all(_is_ranked(items) for items in lists):
        return "any"
    is_telling = _orders([items for items in lists if not _is_run(items)]) >= _LEAST_ORDERS
    if all(sorted(items) == list(range(1, 1 + len(items))) for items in lists):
        return "from 1" if is_telling else "any"
    if all(sorted(items) == list(range(len(items))) for items in lists):
        return "from 0" if is_telling else "any"
    is_distinct = all(len(set(items)) == len(items) for items in lists)
    if is_telling and all(a <= b for items in lists for a, b in pairwise(items)):
        return "increasing" if is_distinct else "sorted"
    pairs = sum(math.comb(len(items), 2) for items in lists)
    return "distinct" if is_distinct and pairs >= _LEAST_PAIRS else "any"


def ordered(items: Sequence[Any], order: Order) -> list[Any]:
    """The list, so changed that it keeps an order; some of its entries may be left out."""
    if order == "any" or not _is_ranked(items):
        return list(items)
    match order:
        case "distinct":
            return list(dict.fromkeys(items))
        case "sorted":
            return sorted(items)
        case "increasing":
            return sorted(set(items))
        case "from 0" | "from 1":
            places = sorted(range(len(items)), key=lambda place: items[place])
            ranks = {place: rank for rank, place in enumerate(places, start=int(order[-1]))}
            return [ranks[place] for place in range(len(items))]
    raise AssertionError(order)


@dataclass(frozen=True, kw_only=True)
class CallPromises:
    """What the arguments of all calls have in common.

    Attributes:
      orders: of each argument.
      alike: pairs of arguments that are equally long.
      lengths: pairs of an argument that is a number, and the argument whose length it is, which
        has been at least two.
    """

    orders: tuple[Order, ...]
    alike: tuple[tuple[int, int], ...]
    lengths: tuple[tuple[int, int], ...]

    def kept(self, arguments: Sequence[Any]) -> list[Any] | None:
        """The arguments, so changed that they keep this; None where that would take more."""
        if len(arguments) != len(self.orders):
            return list(arguments)
        made = list(arguments)
        for place, order in enumerate(self.orders):
            if order != "any" and isinstance(made[place], list):
                made[place] = ordered(made[place], order)
        for number, place in self.lengths:
            if isinstance(made[place], list | str):
                made[number] = len(made[place])
        is_kept = all(_length(made[a]) == _length(made[b]) for a, b in self.alike)
        return made if is_kept else None


def call_promises(calls: Sequence[Sequence[Any]]) -> CallPromises:
    """What calls have in common; nothing where they do not have equally many arguments."""
    count = len(calls[0])
    if any(len(call) != count for call in calls):
        return CallPromises(orders=(), alike=(), lengths=())
    columns = list(zip(*calls, strict=True))
    sizes = [[_length(value) for value in column] for column in columns]
    long = [k for k, found in enumerate(sizes) if _is_told(found)]
    return CallPromises(
        orders=tuple(_order_of_column(column) for column in columns),
        alike=tuple((a, b) for a, b in combinations(long, 2) if sizes[a] == sizes[b]),
        lengths=tuple(
            (k, place)
            for k, place in permutations(range(count), 2)
            if place in long
            and len(set(sizes[place])) > 1
            and list(columns[k]) == sizes[place]
            and all(type(number) is int for number in columns[k])
        ),
    )


@dataclass(frozen=True, kw_only=True)
class TextPromises:
    """What the lines of standard input have in common: the order of each; none where inputs are not
    equally many lines.
    """

    orders: tuple[Order, ...]

    def kept(self, text: str) -> str | None:
        """The text, so changed that it keeps this; None where a line would become shorter."""
        lines = text.split("\n")
        if len(lines) != len(self.orders):
            return text
        for row, order in enumerate(self.orders):
            numbers = _numbers(lines[row])
            made = ordered(numbers, order)
            if len(made) < len(numbers):
                return None
            if made != numbers:
                lines[row] = " ".join(map(str, made))
        return "\n".join(lines)


def text_promises(texts: Sequence[str]) -> TextPromises:
    """What texts have in common."""
    tables = [text.split("\n") for text in texts]
    if any(len(lines) != len(tables[0]) for lines in tables):
        return TextPromises(orders=())
    rows = ([_numbers(line) for line in lines] for lines in zip(*tables, strict=True))
    return TextPromises(orders=tuple(order_of(row) if all(row) else "any" for row in rows))


def _numbers(line: str) -> list[int]:
    """The integers of a line that has nothing else."""
    tokens = line.split()
    return [int(token) for token in tokens] if all(map(_INTEGER.fullmatch, tokens)) else []


def _order_of_column(column: Sequence[Any]) -> Order:
    return order_of(column) if all(isinstance(value, list) for value in column) else "any"


def _length(value: Any) -> int | None:
    return len(value) if isinstance(value, list | str) else None


def _is_told(sizes: Sequence[int | None]) -> bool:
    """Whether all have a length, and one is long enough not to be that by chance."""
    return all(size is not None and size >= 0 for size in sizes) and any(
        size is not None and size >= _LEAST_LENGTH for size in sizes
    )


def _is_ranked(items: Sequence[Any]) -> bool:
    """Whether all are numbers, or all text."""
    return {type(item) for item in items} <= {int, float} or {type(item) for item in items} <= {str}


def _is_run(items: Sequence[Any]) -> bool:
    return all(type(item) is int for item in items) and all(b == a + 1 for a, b in pairwise(items))


def _orders(lists: Sequence[Sequence[Any]]) -> int:
    """In how many orders lists of these lengths could be."""
    return math.prod(math.factorial(min(len(items), 20)) for items in lists)
