"""``stepcoder`` on a host whose executor loses programs: run by ``test_hosts.py``."""

import sys
from collections.abc import Callable
from concurrent.futures import Future

from stepcoder_executor import Executor, Request, Result, Verdict

from stepcoder_jax.cli import main

type Submit = Callable[[Executor, Request], Future[Result]]


def losing(submit: Submit) -> Submit:
    """As ``submit``, but of every four rows the last is lost, as when two brokers die of it."""

    def lose(executor: Executor, request: Request) -> Future[Result]:
        if int(request.id) % 4 != 3:
            return submit(executor, request)
        lost: Future[Result] = Future()
        lost.set_result(
            Result(id=request.id, verdict=Verdict.EXECUTOR_ERROR, tests=(), covered=(), wall_s=0.0)
        )
        return lost

    return lose


if __name__ == "__main__":
    Executor.submit = losing(Executor.submit)
    sys.exit(main())
