"""Rows that overlap a benchmark: by n-grams of words, and by lines of code."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from stepcoder_jax.problem import Problem

_WORD = re.compile(r"\w+")
# A benchmark's text of fewer words counts only where a row says the same and nothing else.
_LEAST_WORDS = 6


def words(problem: Problem) -> list[str]:
    """A problem's text and starter code in lower case, without punctuation and layout."""
    return _WORD.findall(f"{problem.question}\n{problem.starter_code}".lower())


@dataclass(frozen=True, kw_only=True)
class Overlap:
    """A benchmark problem that a row overlaps, and which share of its n-grams the row has."""

    problem_id: str
    share: float


class Benchmarks:
    """The n-grams of problems that must not be trained on.

    A text that is shorter than ``ngram`` words is one n-gram.

    Args:
      problems: of all benchmarks.
      ngram: words of an n-gram.
    """

    def __init__(self, problems: Sequence[Problem], ngram: int) -> None:
        self.problems = tuple(problems)
        self._owners: dict[str, set[int]] = defaultdict(set)
        self._exact: dict[str, int] = {}
        self._sizes: list[int] = []
        self._lengths: set[int] = set()
        for index, problem in enumerate(problems):
            text = words(problem)
            length = min(ngram, len(text))
            found = grams(text, length) if length >= _LEAST_WORDS else set()
            self._exact.setdefault(" ".join(text), index)
            self._sizes.append(len(found))
            for gram in found:
                self._owners[gram].add(index)
                self._lengths.add(length)

    def worst(self, problem: Problem) -> Overlap | None:
        """The benchmark problem of which a row has the largest share; None: it has no n-gram."""
        text = words(problem)
        exact = self._exact.get(" ".join(text))
        if exact is not None:
            return Overlap(problem_id=self.problems[exact].id, share=1.0)
        hits: Counter[int] = Counter()
        for length in self._lengths:
            for gram in grams(text, length):
                hits.update(self._owners.get(gram, ()))
        if not hits:
            return None
        share, index = max((count / self._sizes[index], -index) for index, count in hits.items())
        return Overlap(problem_id=self.problems[-index].id, share=share)


def grams(text: Sequence[str], length: int) -> set[str]:
    """Every ``length`` words in a row."""
    return {" ".join(text[k : k + length]) for k in range(len(text) - length + 1)}


class LineOverlap:
    """Which lines of the benchmarks' solutions occur anywhere in a set of programs.

    Source: StepCoder (arXiv 2402.01391), the analysis of duplicated lines between APPS+ and the
    benchmarks.
    """

    def __init__(self, benchmarks: Iterable[Problem]) -> None:
        solutions = {p.id: p.canonical_solution for p in benchmarks}
        self._lines = {key: code_lines(text) for key, text in solutions.items() if text}
        self._wanted = {line for lines in self._lines.values() for line in lines}
        self._found: set[str] = set()

    def add(self, source: str) -> None:
        """Counts a program."""
        self._found.update(self._wanted.intersection(code_lines(source)))

    def shares(self) -> dict[str, float]:
        """Benchmark problem -> share of its solution's lines that were found."""
        return {
            key: sum(line in self._found for line in lines) / len(lines)
            for key, lines in self._lines.items()
            if lines
        }


def code_lines(source: str) -> list[str]:
    """The lines of a program without indentation, blank lines and comments."""
    lines = (line.strip() for line in source.splitlines())
    return [line for line in lines if line and not line.startswith("#")]
