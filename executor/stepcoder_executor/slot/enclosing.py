"""Finds the smallest syntax node around a place, in a time that does not grow with their number."""

from bisect import bisect_right
from collections.abc import Mapping

from slot.syntax import Position


class Enclosing:
    """The places in ``marks`` that have marks, each of which holds another or lies beside it."""

    def __init__(self, marks: Mapping[Position, object]) -> None:
        places = [place for place, own in marks.items() if own and None not in place]
        # What holds another comes first.
        self._places = sorted(places, key=lambda one: (one[0], one[2], -one[1], -one[3]))
        self._starts = [(line, column) for line, _, column, _ in self._places]
        self._parents: list[int] = []
        outer = -1
        for index, (line, _, column, _) in enumerate(self._places):
            outer = self._reaching(outer, (line, column), is_past=True)
            self._parents.append(outer)
            outer = index

    def smallest(self, position: Position) -> Position | None:
        """The smallest place that holds ``position``; None where there is none."""
        line, end_line, column, end_column = position
        before = bisect_right(self._starts, (line, column)) - 1
        found = self._reaching(before, (end_line, end_column), is_past=False)
        return None if found < 0 else self._places[found]

    def _reaching(self, index: int, end: tuple[int, int], *, is_past: bool) -> int:
        """The first of a place and those that hold it to end no earlier than, or past, ``end``."""
        while index >= 0:
            _, end_line, _, end_column = self._places[index]
            if (end_line, end_column) > end or (not is_past and (end_line, end_column) == end):
                break
            index = self._parents[index]
        return index
