"""One measurement of the benchmark, in a process of its own that holds memory as a trainer does."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from stepcoder_executor.bench import fork
from stepcoder_executor.bench.processes import cpu_s
from stepcoder_executor.bench.workload import is_right, workload
from stepcoder_executor.client import ExecutorClient
from stepcoder_executor.config import ExecutorConfig, Isolation
from stepcoder_executor.protocol import Request, Result, Verdict, request_to_json

_WARM_UP_PER_SLOT = 4


@dataclass(frozen=True, kw_only=True)
class Row:
    """What to measure.

    runner: ``fork`` is the bare fork, for which isolation and coverage mean nothing.
    parent_gib: GiB held by the process that forks, or that calls the executor.
    """

    runner: Literal["fork", "executor"]
    isolation: Isolation = "best"
    coverage: bool = False
    parent_gib: float = 0.0
    programs: int
    slots: int


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What came out.

    cpu_ms_per_program: of the calling process and of everything that it has started, from the
        first program to the last; starting the broker and the slots is not counted.
    rung: the rung of isolation, "" for the bare fork.
    """

    programs_per_s: float
    cpu_ms_per_program: float
    rung: str


def measure_row(row: Row) -> Measured:
    """Run a row in a fresh process.

    Raises:
        RuntimeError: it failed, or a verdict was not the right one.
    """
    if row.runner == "fork":
        return _measure_fork(row)
    answer = _answer(["-m", "stepcoder_executor.bench.row"], asdict(row))
    return Measured(**answer)


def measure_here(row: Row) -> Measured:
    """Run an executor row in this process. Raises RuntimeError where a verdict is wrong."""
    held = fork.hold(row.parent_gib)
    requests = [replace(request, coverage=row.coverage) for request in workload(row.programs)]
    config = ExecutorConfig(slots=row.slots, isolation=row.isolation)
    with ExecutorClient(config) as client:
        _check(requests, client.run(requests[: _WARM_UP_PER_SLOT * row.slots]))
        cpu_before, began = cpu_s(os.getpid()), time.perf_counter()
        results = list(client.run(requests))
        seconds, used_s = time.perf_counter() - began, cpu_s(os.getpid()) - cpu_before
        if len(results) != len(requests):
            raise RuntimeError(f"{len(requests) - len(results)} results are missing")
    _check(requests, results)
    del held
    return Measured(
        programs_per_s=row.programs / seconds,
        cpu_ms_per_program=1e3 * used_s / row.programs,
        rung=client.isolation,
    )


def _measure_fork(row: Row) -> Measured:
    spec = {
        "parent_gib": row.parent_gib,
        "workers": row.slots,
        "requests": [request_to_json(request) for request in workload(row.programs)],
    }
    answer = _answer(["-I", "-S", fork.__file__], spec)
    return Measured(
        programs_per_s=row.programs / answer["seconds"],
        cpu_ms_per_program=1e3 * answer["cpu_s"] / row.programs,
        rung="",
    )


def _answer(arguments: list[str], spec: Any) -> Any:
    paths = [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
    done = subprocess.run(
        [sys.executable, *arguments],
        input=json.dumps(spec),
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))},
    )
    if done.returncode:
        raise RuntimeError(f"a row of the benchmark failed ({spec}):\n{done.stderr}"[-2000:])
    return json.loads(done.stdout)


def _check(requests: list[Request], results: Iterable[Result]) -> None:
    """Raises RuntimeError where a verdict is not the one that the workload is made for."""
    for result in results:
        if (result.verdict is Verdict.PASSED) != is_right(requests[int(result.id)]):
            raise RuntimeError(f"program {result.id} of the workload is {result.verdict}: {result}")


if __name__ == "__main__":
    print(json.dumps(asdict(measure_here(Row(**json.load(sys.stdin))))))
