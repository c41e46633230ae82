"""The life of one child: compile, run the tests, write down what each produced, leave."""

import json
import mmap
import os
import resource
import struct
import sys
import time
import types
from typing import Any, NamedTuple

from slot.messages import CALL, STDIO, Job
from slot.program import FILENAME, Outcome, Program, describe, from_exception, restore_descriptors
from slot.tracing import Tracer

MIB = 1 << 20
MEMORY_EXIT = 77
_RESERVE_BYTES = 64 * MIB
# Phase 0 is compiling, k + 1 is test k; then when that began, on the monotonic clock and on the
# process's own CPU clock.
PROGRESS = struct.Struct("<Qdd")


class Files(NamedTuple):
    """The slot's descriptors for a program's input, output and the records of its tests."""

    stdin: int
    stdout: int
    records: int


MAX_TOTAL_BYTES = 64 * MIB


def file_limit(job: Job) -> int:
    """The most that any one file of this job may grow to."""
    total = (job.output_bytes + 4096) * job.n_tests
    return max(min(total, MAX_TOTAL_BYTES), job.output_bytes + 4096, job.input_bytes)


def limit_resources(job: Job, base_memory_bytes: int) -> None:
    """Set the limits that the kernel keeps: address space and file size."""
    memory = base_memory_bytes + job.memory_bytes
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory + _RESERVE_BYTES))
    limit = file_limit(job)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))


def run_job(
    job: Job, body: bytes, files: Files, page: mmap.mmap, builtins: types.ModuleType
) -> None:
    """Run every test of the job from ``job.first`` on, each recorded when it ends."""
    spec = json.loads(body)
    PROGRESS.pack_into(page, 0, 0, time.monotonic(), 0.0)
    try:
        code = compile_source(spec["source"])
    except BaseException as error:
        outcome = Outcome(verdict="compile_error", detail=_compile_detail(error), is_last=True)
        _record(files.records, job.first, outcome, start=0, end=0, wall_s=0.0, cpu_s=0.0)
        return
    tracer = None
    if job.coverage:
        tracer = Tracer(code, page)
        tracer.start()
    run_tests(job, spec, Program(code=code, builtins=builtins), files, page, tracer)


def run_tests(
    job: Job,
    spec: dict[str, Any],
    program: Program,
    files: Files,
    page: mmap.mmap,
    tracer: Tracer | None,
) -> None:
    """Run the tests one after another until one leaves the process unfit for the next."""
    recursion_limit = sys.getrecursionlimit()
    restore_descriptors(files.stdin, files.stdout)
    start = 0
    for k in range(job.first, job.n_tests):
        if job.mode == STDIO:
            start = restore_descriptors(files.stdin, files.stdout, _input(spec, k))
        if tracer is not None:
            tracer.begin_test(k)
        began, cpu_began = time.monotonic(), time.process_time()
        PROGRESS.pack_into(page, 0, k + 1, began, cpu_began)
        outcome = _run_test(job.mode, k, spec, program)
        wall_s, cpu_s = time.monotonic() - began, time.process_time() - cpu_began
        if outcome.verdict == "memory_exceeded":
            _open_memory_reserve()
        end = os.fstat(files.stdout).st_size
        _record(files.records, k, outcome, start=start, end=end, wall_s=wall_s, cpu_s=cpu_s)
        if outcome.is_last or (outcome.verdict != "ran" and not job.run_all):
            return
        start = end
        sys.setrecursionlimit(recursion_limit)


def _input(spec: dict[str, Any], k: int) -> bytes:
    text: str = spec["inputs"][k]
    return text.encode("utf-8", "surrogatepass")


def _open_memory_reserve() -> None:
    """Make room for writing down that there was none."""
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (hard, hard))


def compile_source(source: str) -> types.CodeType:
    """The program's code, as Python itself would compile a file with this text."""
    return compile(without_mark(source), FILENAME, "exec", dont_inherit=True)


def without_mark(source: str) -> str:
    """The source without the byte order mark that a file may begin with."""
    return source.removeprefix("\ufeff")


def _run_test(mode: int, k: int, spec: dict[str, Any], program: Program) -> Outcome:
    try:
        if mode == STDIO:
            return program.run_stdio()
        if mode == CALL:
            return program.run_call(spec["fn_name"], spec["inputs"][k])
        return _run_assertion(spec, k, program)
    except BaseException as error:
        return from_exception(error)


def _run_assertion(spec: dict[str, Any], k: int, program: Program) -> Outcome:
    setup = compile(spec["setup"], "<setup>", "exec", dont_inherit=True)
    leaves = spec["leaves"][k]
    if leaves is None:
        return program.run_assertion(
            setup, compile(spec["assertions"][k], "<assertion>", "exec", dont_inherit=True)
        )
    codes = [compile(leaf, "<assertion>", "eval", dont_inherit=True) for leaf in leaves]
    return program.run_expressions(setup, codes)


def _compile_detail(error: BaseException) -> str:
    line = getattr(error, "lineno", None)
    place = f" (line {line})" if isinstance(line, int) else ""
    message = getattr(error, "msg", None) or describe(error)
    return f"{type(error).__name__}: {message}{place}"


def _record(
    fd: int, k: int, outcome: Outcome, *, start: int, end: int, wall_s: float, cpu_s: float
) -> None:
    """Append what one test gave: a line of JSON, then the value on a line of its own."""
    verdict, detail = outcome.verdict, json.dumps(outcome.detail) if outcome.detail else '""'
    is_last = "true" if outcome.is_last else "false"
    head = f'[{k}, "{verdict}", {detail}, {start}, {end}, {wall_s!r}, {is_last}, {cpu_s!r}]'
    data = f"{head}\n{outcome.value}\n".encode()
    while data:
        data = data[os.write(fd, data) :]
