"""The record behind every parametrised family, and how one draw becomes a program.

A family is data: a space of parameters, phrases that say what is wanted, and one solution template.
Both are filled from the same draw, so that a question's words decide its program.
"""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, Literal

from stepcoder_jax.problem import Difficulty


@dataclass(frozen=True)
class Choice:
    """One meaning in two languages: what the question says and what the program writes.

    Both sides may name further parameters of the draw, as in `Choice("from {low} to {high}", …)`.
    """

    words: str
    code: str


# One draw: parameter name -> int, str or Choice. Which of the three is the family's own knowledge.
Parameters = Mapping[str, Any]


def any_parameters(parameters: Parameters) -> bool:
    """Accept every draw: the default of `Family.is_sensible`."""
    return True


@dataclass(frozen=True, kw_only=True, eq=False)
class Family:
    """A parametrised family of problems; two are the same only if they are one object.

    Attributes:
      name: unique; for a call-based family also the function that the question asks for.
      given: the argument list (call-based), or what the program reads (stdin/stdout).
      style: whether tests call a function or feed standard input.
      difficulty: the level of all its problems.
      space: parameter name -> its values; a draw takes one of each.
      is_sensible: which draws to keep (`low < high`, letters that differ).
      phrases: training descriptions of the result, each with the parameters in braces.
      heldout_phrases: descriptions kept for the held-out splits.
      solution: the canonical program with the parameters in braces.
      inputs: the tests' inputs for a draw: argument lists, or texts for standard input. They sit on
        both sides of every constant, so that `>` for `>=` or a neighbouring constant fails.
    """

    name: str
    given: str
    style: Literal["call", "stdio"] = "call"
    difficulty: Difficulty
    space: Mapping[str, tuple[Any, ...]]
    is_sensible: Callable[[Parameters], bool] = any_parameters
    phrases: tuple[str, ...]
    heldout_phrases: tuple[str, ...]
    solution: str
    inputs: Callable[[Parameters, Random], Sequence[Any]]

    @property
    def fn_name(self) -> str | None:
        """The function that tests call; None when they feed standard input."""
        return self.name if self.style == "call" else None

    @property
    def starter_code(self) -> str:
        """The line that a solution begins with; empty when tests feed standard input."""
        return f"def {self.name}({self.given}):\n" if self.style == "call" else ""

    def draws(self) -> Iterator[Parameters]:
        """Yield every sensible combination of parameters, in a fixed order."""
        for values in itertools.product(*self.space.values()):
            draw = dict(zip(self.space, values, strict=True))
            if self.is_sensible(draw):
                yield draw


def in_words(template: str, parameters: Parameters) -> str:
    """Fill a phrase; a choice contributes its words, which may name other parameters."""
    words = {k: v.words if isinstance(v, Choice) else v for k, v in parameters.items()}
    return template.format(**words).format(**words)


def in_code(template: str, parameters: Parameters) -> str:
    """Fill a solution; a choice contributes its code, which may name other parameters."""
    code = {k: v.code if isinstance(v, Choice) else v for k, v in parameters.items()}
    return template.format(**code).format(**code)
