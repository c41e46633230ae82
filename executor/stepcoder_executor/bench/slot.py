"""What one slot costs: its start, its memory, and how far a program overruns its time."""

import os
import statistics
import time
from typing import Any

from stepcoder_executor.bench.processes import family, pss_mib, rss_anon_mib
from stepcoder_executor.bench.workload import workload
from stepcoder_executor.client import ExecutorClient
from stepcoder_executor.config import ExecutorConfig
from stepcoder_executor.protocol import IoTests, Limits, Request, Verdict
from stepcoder_executor.slots import Slot

_WALL_S = 0.3
_N_WARM_UP = 20
# In Python, in one call into C, and in one call that looks for no signal on its way.
_LOOPS = (
    "while True:\n    pass",
    "import itertools\nsum(iter(int, 1))",
    "import re\nre.match('(a|aa)+$', 'a' * 60 + 'b')",
    "len(str(9 ** 9 ** 8 % 7))",
)


def spread(values: list[float]) -> dict[str, float]:
    """``{"median", "min", "max"}``."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def measure_start(rung: str, times: int) -> dict[str, float]:
    """Seconds from starting a slot's process until it can take a program."""
    return spread([_start_s(rung) for _ in range(times)])


def measure_memory() -> dict[str, float | None]:
    """MiB of a slot that has run a few programs: ``{"pss_mib", "rss_anon_mib"}``.

    ``pss_mib`` is None where the kernel does not show it to this user.
    """
    before = {process.pid for process in family(os.getpid())}
    with ExecutorClient(ExecutorConfig(slots=1)) as client:
        for _ in client.run(workload(_N_WARM_UP)):
            pass
        started = [process for process in family(os.getpid()) if process.pid not in before]
        slot = [process.pid for process in started if process.parent != os.getpid()]
        return {"pss_mib": pss_mib(slot), "rss_anon_mib": rss_anon_mib(slot)}


def measure_overshoot(programs: int) -> dict[str, Any]:
    """Milliseconds past its limit at which the answer on an endless program is there.

    Seen from the caller, so that handing the program over and starting it are in it.

    Raises:
        RuntimeError: a program was not ended for its time.
    """
    with ExecutorClient(ExecutorConfig(slots=1)) as client:
        for _ in client.run(workload(_N_WARM_UP)):
            pass
        past_ms = [_overshoot_ms(client, index) for index in range(programs)]
    return {"wall_s": _WALL_S, "programs": programs} | spread(past_ms)


def _start_s(rung: str) -> float:
    began = time.perf_counter()
    slot = Slot(rung)
    try:
        slot.wait_ready()
        return time.perf_counter() - began
    finally:
        slot.close()


def _overshoot_ms(client: ExecutorClient, index: int) -> float:
    request = Request(
        id=str(index),
        source=_LOOPS[index % len(_LOOPS)],
        tests=IoTests(fn_name=None, inputs=("",), outputs=("",)),
        limits=Limits(wall_s=_WALL_S),
    )
    began = time.perf_counter()
    result = client.submit(request).result()
    seconds = time.perf_counter() - began
    if result.verdict is not Verdict.TIMEOUT:
        raise RuntimeError(f"an endless program ended with {result.verdict}: {result}")
    return 1e3 * (seconds - _WALL_S)
