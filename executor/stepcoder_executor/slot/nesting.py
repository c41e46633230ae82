"""Places that lie within each other, and which of them is the smallest around another place."""

from bisect import bisect_right

from slot.syntax import Position

Marks = tuple[int, ...]


class Nesting:
    """What each of some places marks. Of two places that overlap one contains the other."""

    def __init__(self, marks: dict[Position, Marks]) -> None:
        ordered = sorted(
            ((line, column), (-end_line, -end_column), one)
            for (line, end_line, column, end_column), one in marks.items()
            if line is not None and one
        )
        self._starts = [start for start, _, _ in ordered]
        self._ends = [(-line, -column) for _, (line, column), _ in ordered]
        self._marks = [one for _, _, one in ordered]
        self._parents: list[int] = []
        around: list[int] = []
        for k, end in enumerate(self._ends):
            while around and self._ends[around[-1]] < end:
                around.pop()
            self._parents.append(around[-1] if around else -1)
            around.append(k)

    def smallest_around(self, start: tuple[int, int], end: tuple[int, int]) -> Marks:
        """What the smallest place marks that contains ``start`` to ``end``, line and column."""
        k = bisect_right(self._starts, start) - 1
        while k >= 0 and self._ends[k] < end:
            k = self._parents[k]
        return self._marks[k] if k >= 0 else ()
