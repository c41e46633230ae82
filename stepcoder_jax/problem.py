"""A problem: what is asked, a solution if one is known, and the tests that judge an answer."""

from dataclasses import dataclass
from typing import Literal, get_args

from stepcoder_executor import Tests

Difficulty = Literal["introductory", "interview", "competition"]
DIFFICULTIES: tuple[Difficulty, ...] = get_args(Difficulty)


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One row of a problem file (DESIGN.md §7): a requirement, a solution if known, unit tests.

    Attributes:
      id: unique within its file.
      question: the requirement in natural language.
      difficulty: the three levels of APPS.
      starter_code: what the answer must begin from or define; may be empty.
      canonical_solution: y of METHOD.md §2; None where nobody has given one.
      tests: call-based, stdin/stdout or assertions.
      source: where the problem comes from, for the report's tables.
    """

    id: str
    question: str
    difficulty: Difficulty
    starter_code: str
    canonical_solution: str | None
    tests: Tests
    source: str
