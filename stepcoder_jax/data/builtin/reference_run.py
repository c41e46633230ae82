"""Runs a canonical solution in this process to learn the outputs of generated tests.

For the package's own programs only: nothing here confines the program. Programs from a model go to
the executor.
"""

import copy
from collections.abc import Sequence
from typing import Any

from stepcoder_executor import IoTests


def tests_from_solution(solution: str, fn_name: str | None, inputs: Sequence[Any]) -> IoTests:
    """Make the tests that `solution` passes by definition: one for each of `inputs`.

    Args:
      solution: a trusted program.
      fn_name: the function that tests call; None for a program that reads standard input.
      inputs: an argument list for each call, or a text of standard input for each run.

    Raises:
      Exception: whatever the program raises; a canonical solution that fails is a defect here.
    """
    if fn_name is None:
        outputs = _printed(solution, inputs)
    else:
        outputs = _returned(solution, fn_name, inputs)
    return IoTests(fn_name=fn_name, inputs=tuple(inputs), outputs=tuple(outputs))


def _returned(solution: str, fn_name: str, argument_lists: Sequence[list[Any]]) -> list[Any]:
    scope: dict[str, Any] = {}
    exec(solution, scope)
    return [scope[fn_name](*copy.deepcopy(arguments)) for arguments in argument_lists]


def _printed(solution: str, texts: Sequence[str]) -> list[str]:
    program = compile(solution, "<program>", "exec")
    outputs = []
    for text in texts:
        lines = iter(text.splitlines())
        printed: list[str] = []
        scope = {
            "input": lines.__next__,
            "print": lambda *values, to=printed: to.append(" ".join(map(str, values)) + "\n"),
        }
        exec(program, scope)
        outputs.append("".join(printed))
    return outputs
