"""The slot's own process: imports once, locks itself in, then forks one child a program.

It never runs a line of a program and never sees an expected output. The child's deadline is kept
here, on this process's monotonic clock, and the only signal used is SIGKILL.
"""

import mmap
import os
import select
import signal
import sys
import time
from collections import deque
from collections.abc import Callable
from typing import NamedTuple, NoReturn

from slot import memory, prelude
from slot.child import MAX_TOTAL_BYTES, MEMORY_EXIT, PROGRESS, Files, limit_resources, run_job
from slot.messages import (
    DONE,
    JOB,
    NO_LIMIT_S,
    PARTIAL,
    RECALL,
    RETURNED,
    STOP,
    Answer,
    Job,
    about,
    job_from_content,
    seq_of,
)
from slot.sandbox import Sandbox, enter
from slot.tracing import PAGE_BYTES, clear_hits, read_hits
from slot.warmup import warm_up
from slot.wire import frame, read_frame, write_all

# A child that outlives this is looked at, so that a wrong answer before an endless loop ends both.
_FIRST_LOOK_S = 0.1
# CPU time is looked at no more often than this, and so overrun by no more.
_CPU_LOOK_S = 0.01


class Ending(NamedTuple):
    """How a child ended; ``exit_code`` -1 and ``signal`` 0 mean none."""

    exit_code: int
    signal: int
    timed_out: bool
    used_up_cpu: bool
    stopped: bool
    wall_s: float
    cpu_s: float


def cpu_clock(pid: int) -> int:
    """The clock of the CPU time that another process has used, all its threads together.

    It can be read for as long as the process has not been reaped.
    """
    # What clock_getcpuclockid(3) makes of a process: its number and CPUCLOCK_SCHED.
    return (~pid << 3) | 2


def prepare(control: int, rung: str) -> "Zygote":
    """A zygote on ``rung``, ready to serve. Raises what hinders it."""
    return Zygote(control, rung)


def believed(
    said: tuple[int, float, float],
    known: tuple[int, float, float],
    now: tuple[float, float],
    n_tests: int,
) -> tuple[int, float, float]:
    """How much of the child's word on its progress to take.

    All are a phase and when it began on two clocks: the monotonic one and the child's CPU time.
    The word may be any bits: it counts only if it moves forward and stays within what is possible.
    """
    if not known[0] < said[0] <= n_tests:
        return known
    # In this order a NaN loses to what is known.
    wall, cpu = (
        min(max(before, began), at)
        for began, before, at in zip(said[1:], known[1:], now, strict=True)
    )
    return said[0], wall, cpu


class Zygote:
    """A prepared interpreter inside its sandbox."""

    def __init__(self, control: int, rung: str) -> None:
        self._control = control
        prelude.import_modules()
        self._page = mmap.mmap(-1, PAGE_BYTES)
        self._builtins = prelude.private_builtins()
        warm_up(self._builtins)
        self.sandbox: Sandbox = enter(rung)
        self._files: Files = self.sandbox.files
        self._base_memory_bytes = self.sandbox.base_memory_bytes
        self._seal: Callable[[], None] = self.sandbox.seal_child
        self._waiting: deque[bytes] = deque()
        self._n_cpus = len(os.sched_getaffinity(0))
        self._poller = select.poll()
        self._poller.register(control, select.POLLIN)
        _forget_own_modules()
        memory.settle()

    @property
    def notes(self) -> list[str]:
        """What is to be known about the rung as it is here."""
        return self.sandbox.notes

    def serve(self) -> None:
        """Answer every job frame until the broker has gone."""
        while True:
            try:
                content = self._waiting.popleft() if self._waiting else read_frame(self._control)
            except EOFError:
                return
            if content[:1] == JOB:
                self._answer(*job_from_content(content))

    def _answer(self, job: Job, body: bytes) -> None:
        began = time.monotonic()
        PROGRESS.pack_into(self._page, 0, 0, began, 0.0)
        clear_hits(self._page)
        pid = os.fork()
        if pid == 0:
            self._live(job, body)
        ending = self._watch(pid, job, began)
        answer = self._frame(job, DONE, ending)
        # Cleaned first: a slot that cannot be cleaned ends here, and its job is run elsewhere.
        self._clean()
        write_all(self._control, answer)

    def _live(self, job: Job, body: bytes) -> NoReturn:
        """Be the child."""
        code = 1
        try:
            os.close(self._control)
            limit_resources(job, self._base_memory_bytes)
            self._seal()
            run_job(job, body, self._files, self._page, self._builtins)
            code = 0
        except MemoryError:
            code = MEMORY_EXIT
        finally:
            os._exit(code)

    def _watch(self, pid: int, job: Job, began: float) -> Ending:
        """Wait for the child, killing it when a test has used up its time."""
        pidfd = os.pidfd_open(pid)
        self._poller.register(pidfd, select.POLLIN)
        timed_out = used_up_cpu = stopped = False
        look_at, look_every, shown = began + _FIRST_LOOK_S, _FIRST_LOOK_S, 0
        clock, used_s = cpu_clock(pid), 0.0
        progress = (0, began, 0.0)
        while True:
            now = time.monotonic()
            if job.cpu_s != NO_LIMIT_S:
                used_s = time.clock_gettime(clock)
            said = PROGRESS.unpack_from(self._page)
            progress = believed(said, progress, (now, used_s), job.n_tests)
            phase, phase_began, cpu_began = progress
            cpu_left_s = cpu_began + job.cpu_s - used_s
            used_up_cpu = cpu_left_s <= 0
            left_s = phase_began + job.wall_s - now
            if left_s <= 0 or used_up_cpu:
                timed_out = True
                break
            left_s = min(left_s, max(cpu_left_s / self._n_cpus, _CPU_LOOK_S))
            ready = self._poller.poll(max(min(left_s, look_at - now), 0) * 1000 + 0.5)
            if any(fd == pidfd for fd, _ in ready):
                break
            if ready and self._told_to_stop(pid, job.seq):
                stopped = True
                break
            if time.monotonic() >= look_at:
                look_every *= 2
                look_at += look_every
                if phase > max(shown, job.first + 1):
                    shown = phase
                    ending = Ending(-1, 0, False, False, False, now - began, used_s)
                    write_all(self._control, self._frame(job, PARTIAL, ending))
        self._poller.unregister(pidfd)
        os.close(pidfd)
        if timed_out or stopped:
            # All at once: what it has forked may keep this process from its next step for long.
            self.sandbox.kill_strays(pid)
            os.kill(pid, signal.SIGKILL)
        _, status, usage = os.wait4(pid, 0)
        wall_s = time.monotonic() - began
        self._kill_all(pid)
        return Ending(
            exit_code=os.WEXITSTATUS(status) if os.WIFEXITED(status) else -1,
            signal=os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0,
            timed_out=timed_out,
            used_up_cpu=used_up_cpu,
            stopped=stopped,
            wall_s=wall_s,
            cpu_s=usage.ru_utime + usage.ru_stime,
        )

    def _told_to_stop(self, pid: int, running: int) -> bool:
        """Take a message while a child runs; whether it says to end that."""
        try:
            content = read_frame(self._control)
        except EOFError:
            os.kill(pid, signal.SIGKILL)
            self._kill_all(pid)
            os._exit(0)
        if content[:1] == JOB:
            self._waiting.append(content)
        elif content[:1] == STOP and seq_of(content) == running:
            return True
        elif content[:1] in (STOP, RECALL):
            self._give_back(seq_of(content))
        return False

    def _give_back(self, seq: int) -> None:
        """Return a job that has not begun."""
        for content in self._waiting:
            if seq_of(content) == seq:
                self._waiting.remove(content)
                write_all(self._control, frame(about(RETURNED, seq)))
                return

    def _kill_all(self, pid: int) -> None:
        """End whatever a program may have left: nothing but this process outlives a program."""
        while True:
            # What a killed one leaves behind may only now be seen.
            self.sandbox.kill_strays(pid)
            try:
                os.waitpid(-1, 0)
                while any(os.waitpid(-1, os.WNOHANG)):
                    pass
            except ChildProcessError:
                return

    def _frame(self, job: Job, kind: bytes, ending: Ending) -> bytes:
        (phase, _, _) = PROGRESS.unpack_from(self._page)
        records, stdout = _contents(self._files.records), _contents(self._files.stdout)
        hits = read_hits(self._page) if kind == DONE else b""
        return frame(Answer(job.seq, phase, *ending, records, stdout, hits).to_content(kind))

    def _clean(self) -> None:
        for fd in (self._files.records, self._files.stdout, self._files.stdin):
            os.ftruncate(fd, 0)
            os.lseek(fd, 0, os.SEEK_SET)
        self.sandbox.clean()


def _contents(fd: int) -> bytes:
    size = min(os.fstat(fd).st_size, MAX_TOTAL_BYTES)
    data = b""
    while len(data) < size:
        piece = os.pread(fd, size - len(data), len(data))
        if not piece:
            break
        data += piece
    return data


def _forget_own_modules() -> None:
    """Leave no name by which a program could import this slot's code by accident."""
    for name in [name for name in sys.modules if name.split(".")[0] == "slot"]:
        del sys.modules[name]
    sys.path[:] = [path for path in sys.path if not path.endswith("stepcoder_executor")]
