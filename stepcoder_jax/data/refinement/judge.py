"""Reference solutions in the executor: which can be believed, their time, their branches."""

import ast
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from stepcoder_executor import Executor, IoTests, Limits, Request, Result, Tests, Verdict

from stepcoder_jax.data.refinement.branches import arms, explicit, taken
from stepcoder_jax.data.refinement.normalise import is_finite, normal_text, normal_value
from stepcoder_jax.source_text import parse

# Beside the executor's verdicts: a solution that passes, but with other outputs each time.
UNSTABLE = "unstable"


@dataclass(frozen=True, kw_only=True)
class Trial:
    """What became of one solution.

    Attributes:
      source: the solution.
      outcome: a verdict, or ``unstable``; ``passed`` only if every run passed alike.
      detail: for people.
      cpu_s: CPU seconds of its slowest test, the least of all runs; 0 unless it passed.
      arms: how many branches it has.
      taken: how many of them its own tests enter.
    """

    source: str
    outcome: str
    detail: str = ""
    cpu_s: float = 0.0
    arms: int = 0
    taken: int = 0

    @property
    def passed(self) -> bool:
        """Whether it can be believed."""
        return self.outcome == Verdict.PASSED.value


class Judge:
    """Runs solutions; safe to use from several threads.

    Args:
      executors: runs of one solution go to each in turn: what depends on the order of a set is
        another in another interpreter.
      limits: of a test.
      runs: how often a solution must pass.
    """

    def __init__(self, executors: Sequence[Executor], limits: Limits, runs: int) -> None:
        self._executors = executors
        self._limits = limits
        self._runs = runs

    @property
    def n_slots(self) -> int:
        """How many programs can run at a time, if all runs go to one executor."""
        return self._executors[0].n_slots

    def try_solution(self, source: str, tests: Tests) -> Trial:
        """Runs a solution until a run does not pass, and looks at its branches if all did.

        What cannot be parsed here would not compile there: it is not run.
        """
        try:
            parse(source)
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            outcome, detail = Verdict.COMPILE_ERROR.value, f"{type(error).__name__}: {error}"
            return Trial(source=source, outcome=outcome, detail=detail)
        seconds: list[float] = []
        first: list[Any] = []
        for run in range(self._runs):
            result = self._run(source, tests, run, report="measured")
            if result.verdict is not Verdict.PASSED:
                outcome = UNSTABLE if run and _says_something(result) else result.verdict.value
                return Trial(source=source, outcome=outcome, detail=_detail(result))
            outputs = [comparable(tests, test.output) for test in result.tests]
            first = first or outputs
            if outputs != first:
                detail = "two runs gave different outputs"
                return Trial(source=source, outcome=UNSTABLE, detail=detail)
            seconds.append(max(test.cpu_s or 0.0 for test in result.tests))
        every, entered = self.coverage(source, tests)
        return Trial(
            source=source,
            outcome=Verdict.PASSED.value,
            cpu_s=min(seconds),
            arms=every,
            taken=len(entered),
        )

    def coverage(self, source: str, tests: Tests) -> tuple[int, frozenset[int]]:
        """How many branches a program has, and which of them the tests enter."""
        told = explicit(source)
        every = arms(told)
        if not every:
            return 0, frozenset()
        result = self._run(told, tests, 0, report="produced", coverage=True)
        return len(every), taken(every, result.covered or ())

    def outputs(self, source: str, tests: IoTests) -> list[Any]:
        """What a program answers to each input, in normal form; None where it does not."""
        result = self._run(source, tests, 0, report="produced")
        found = [_answer(tests, test.output) for test in result.tests]
        return found + [None] * (len(tests.inputs) - len(found))

    def passes(self, source: str, tests: Tests) -> bool:
        """Whether a program passes, once."""
        return self._run(source, tests, 0).verdict is Verdict.PASSED

    def _run(self, source: str, tests: Tests, run: int, **what: Any) -> Result:
        executor = self._executors[run % len(self._executors)]
        request = Request(id="build", source=source, tests=tests, limits=self._limits, **what)
        return executor.submit(request).result()


def different(sources: Sequence[str]) -> list[int]:
    """Indices of the first of each lot of programs that differ only in layout and comments."""
    seen: dict[str, int] = {}
    for index, source in enumerate(sources):
        seen.setdefault(_meaning(source), index)
    return list(seen.values())


def comparable(tests: Tests, output: str | None) -> Any:
    """An output so that two runs can be compared; None of assertions: sets have no order."""
    if output is None or not isinstance(tests, IoTests):
        return None
    return normal_text(output) if tests.fn_name is None else _value(output)


def _answer(tests: IoTests, output: str | None) -> Any:
    """An output that a test can expect; None of one that is empty, not finite or not text."""
    if output is None:
        return None
    if tests.fn_name is None:
        return normal_text(output) or None if _is_text(output) else None
    value = _value(output)
    return normal_value(value) if is_finite(value) and _is_text(value) else None


def _value(output: str) -> Any:
    """What was returned; its text where that cannot be read, as of a number of 5,000 digits."""
    try:
        return json.loads(output)
    except (ValueError, RecursionError):
        return output


def _is_text(value: Any) -> bool:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


def _meaning(source: str) -> str:
    try:
        return ast.dump(parse(source))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return source


def _says_something(result: Result) -> bool:
    return result.verdict is not Verdict.EXECUTOR_ERROR


def _detail(result: Result) -> str:
    details = (test.detail for test in result.tests if test.verdict is result.verdict)
    return next(details, "") or result.detail
