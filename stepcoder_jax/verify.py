"""Canonical solutions against their own tests: a problem whose solution fails teaches nothing."""

from collections.abc import Sequence
from dataclasses import dataclass

from stepcoder_executor import ExecutorClient, Limits, Request, Verdict

from stepcoder_jax.types import Problem


@dataclass(frozen=True, kw_only=True)
class Verified:
    """Problems whose canonical solution passes, and why the others were dropped (id -> reason)."""

    kept: tuple[Problem, ...]
    dropped: dict[str, str]


def verify(problems: Sequence[Problem], client: ExecutorClient, limits: Limits) -> Verified:
    """Runs every canonical solution; a problem without one is kept, there is nothing to check.

    Raises:
      RuntimeError: the executor could not judge a program.
    """
    requests = [
        Request(id=p.id, source=p.canonical_solution, tests=p.tests, limits=limits)
        for p in problems
        if p.canonical_solution is not None
    ]
    dropped: dict[str, str] = {}
    for result in client.run(requests):
        if result.verdict is Verdict.EXECUTOR_ERROR:
            raise RuntimeError(f"the executor could not judge {result.id!r}: {result.detail}")
        if result.verdict is not Verdict.PASSED:
            detail = next((t.detail for t in result.tests if t.verdict is result.verdict), "")
            dropped[result.id] = f"{result.verdict.value}: {detail}".rstrip(": ")
    kept = tuple(p for p in problems if p.id not in dropped)
    return Verified(kept=kept, dropped=dropped)
