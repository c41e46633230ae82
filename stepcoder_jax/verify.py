"""Canonical solutions against their own tests: a problem whose solution fails teaches nothing."""

from collections.abc import Sequence
from dataclasses import dataclass

from stepcoder_executor import Executor, Request, Verdict

from stepcoder_jax.config import ExecutorSettings
from stepcoder_jax.limits import LimitRule
from stepcoder_jax.problem import Problem


@dataclass(frozen=True, kw_only=True)
class Verified:
    """What the canonical solutions did.

    Attributes:
      kept: problems whose solution passes or is not known.
      dropped: id -> why, of the others.
      reference_s: id -> wall-clock seconds of the slowest test, of solutions that pass.
    """

    kept: tuple[Problem, ...]
    dropped: dict[str, str]
    reference_s: dict[str, float]


def verify(problems: Sequence[Problem], client: Executor, settings: ExecutorSettings) -> Verified:
    """Runs every canonical solution; a problem without one is kept, there is nothing to check.

    Raises:
      RuntimeError: the executor could not judge a program.
    """
    rule = LimitRule(settings=settings)
    requests = [
        Request(id=p.id, source=p.canonical_solution, tests=p.tests, limits=rule.of(p))
        for p in problems
        if p.canonical_solution is not None
    ]
    dropped: dict[str, str] = {}
    reference_s: dict[str, float] = {}
    for result in client.run(requests):
        if result.verdict is Verdict.EXECUTOR_ERROR:
            raise RuntimeError(f"the executor could not judge {result.id!r}: {result.detail}")
        if result.verdict is Verdict.PASSED:
            reference_s[result.id] = max(test.wall_s for test in result.tests)
        else:
            detail = next((t.detail for t in result.tests if t.verdict is result.verdict), "")
            dropped[result.id] = f"{result.verdict.value}: {detail}".rstrip(": ")
    kept = tuple(p for p in problems if p.id not in dropped)
    return Verified(kept=kept, dropped=dropped, reference_s=reference_s)
