"""Rows that overlap a benchmark: by n-grams of words, by lines of code, by whole programs."""

import ast
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from stepcoder_jax.data.refinement.shape import shape
from stepcoder_jax.problem import Problem
from stepcoder_jax.source_text import parse

_WORD = re.compile(r"\w+")
# A benchmark's text of fewer words counts only where a row says the same and nothing else.
_LEAST_WORDS = 6
_EXAMPLES = re.compile(r"^\s*(?:>>>|examples?\b|for example\b)", re.IGNORECASE | re.MULTILINE)


def words(problem: Problem) -> list[str]:
    """A problem's text and starter code in lower case, without punctuation and layout."""
    return _WORD.findall(f"{problem.question}\n{problem.starter_code}".lower())


def prose(problem: Problem) -> list[str]:
    """The words of the docstring that a starter code ends with, up to its examples; mostly none."""
    try:
        nodes = parse(problem.starter_code).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []
    last = nodes[-1] if nodes else None
    told = ast.get_docstring(last) if isinstance(last, ast.FunctionDef) else None
    return _WORD.findall(_EXAMPLES.split(told or "", maxsplit=1)[0].lower())


@dataclass(frozen=True, kw_only=True)
class Overlap:
    """A benchmark problem that a row overlaps, and which share of its n-grams the row has."""

    problem_id: str
    share: float


class Benchmarks:
    """The n-grams and the solutions of problems that must not be trained on.

    A problem has one or two texts: its question with the starter code, and what a docstring says.
    A text that is shorter than ``ngram`` words is one n-gram.

    Args:
      problems: of all benchmarks.
      ngram: words of an n-gram.
    """

    def __init__(self, problems: Sequence[Problem], ngram: int) -> None:
        self._owners: dict[str, set[int]] = defaultdict(set)
        self._exact: dict[str, str] = {}
        self._shapes: dict[str, str] = {}
        self._ids: list[str] = []
        self._sizes: list[int] = []
        self._lengths: set[int] = set()
        for problem in problems:
            self._exact.setdefault(" ".join(words(problem)), problem.id)
            for text in filter(None, (words(problem), prose(problem))):
                self._add(problem.id, text, min(ngram, len(text)))
            found = shape(problem.canonical_solution or "")
            if found is not None:
                self._shapes.setdefault(found, problem.id)

    def _add(self, name: str, text: Sequence[str], length: int) -> None:
        found = grams(text, length) if length >= _LEAST_WORDS else set()
        for gram in found:
            self._owners[gram].add(len(self._ids))
            self._lengths.add(length)
        self._ids.append(name)
        self._sizes.append(len(found))

    def worst(self, problem: Problem) -> Overlap | None:
        """The benchmark problem of which a row has the largest share; None: it has no n-gram."""
        text = words(problem)
        exact = self._exact.get(" ".join(text))
        if exact is not None:
            return Overlap(problem_id=exact, share=1.0)
        hits: Counter[int] = Counter()
        for length in self._lengths:
            for gram in grams(text, length):
                hits.update(self._owners.get(gram, ()))
        if not hits:
            return None
        share, index = max((count / self._sizes[index], -index) for index, count in hits.items())
        return Overlap(problem_id=self._ids[-index], share=share)

    def solved_by(self, sources: Iterable[str]) -> str | None:
        """The benchmark problem whose solution is one of these programs, but for its names."""
        if not self._shapes:
            return None
        return next((self._shapes[s] for s in map(shape, sources) if s in self._shapes), None)


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
