"""``stepcoder data build`` from beginning to end."""

import time
from collections.abc import Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from stepcoder_executor import Limits

from stepcoder_jax.config import ConfigError
from stepcoder_jax.data.problems import ProblemError
from stepcoder_jax.data.raw import RawProblem
from stepcoder_jax.data.raw_rows import RawRows, raw_rows
from stepcoder_jax.data.refinement.assemble import DROPPED, PROBLEMS, assemble
from stepcoder_jax.data.refinement.card import Tally
from stepcoder_jax.data.refinement.contamination import Benchmarks, LineOverlap
from stepcoder_jax.data.refinement.duplicates import Duplicates
from stepcoder_jax.data.refinement.journal import Entry, Journal
from stepcoder_jax.data.refinement.judge import Judge
from stepcoder_jax.data.refinement.refine import UNJUDGED, Refinery
from stepcoder_jax.data.refinement.settings import BuildSettings
from stepcoder_jax.executor_session import executor
from stepcoder_jax.problem import Problem
from stepcoder_jax.progress import PLAIN_INTERVAL_S, Display
from stepcoder_jax.stop import StopRequest

JOURNAL = "journal.jsonl"
# Looked for in `manual_dir` unless benchmarks are named.
BENCHMARKS = ("humaneval", "mbpp:test")
# More rows than slots are under way, so that reading and writing rows keeps no slot waiting.
_ROWS_AHEAD = 2
_WALL_FACTOR = 3


@dataclass(frozen=True, kw_only=True)
class Compared:
    """The benchmarks that rows are compared with.

    Attributes:
      problems: of all of them.
      names: of those that are there.
      missing: those that were not found.
      unread: name -> how many of its rows cannot be read, and so are compared with nothing.
    """

    problems: tuple[Problem, ...]
    names: tuple[str, ...]
    missing: tuple[str, ...]
    unread: dict[str, int]


def build(settings: BuildSettings, display: Display, stop: StopRequest) -> dict[str, Any]:
    """Builds a problem file, or goes on with one that was stopped.

    Returns:
      Counts and reasons: the figures of the card, and ``out``, the problem file.

    Raises:
      ProblemError: the set, or a benchmark that was named, cannot be found, or holds nothing.
      ConfigError: the folder has a build with other settings in it, or is none.
      Interrupted: a stop was asked for; what was settled is in the journal.
      ExecutorDied: programs cannot be run.
    """
    source = raw_rows(settings.problems, settings.manual_dir)
    compared = find_benchmarks(settings)
    for name in compared.missing:
        display.say(f"not compared with {name}: it is not in --manual_dir")
    for name, count in compared.unread.items():
        display.say(f"not compared with {count} rows of {name}: they cannot be read")
    _make_folder(settings.out)
    header = {**settings.of_rows(), "sha256": source.checksum(), "compared": list(compared.names)}
    with (
        Journal(settings.out / JOURNAL, header, again=UNJUDGED) as journal,
        _judge(settings) as judge,
    ):
        refinery = Refinery(
            settings=settings,
            judge=judge,
            benchmarks=Benchmarks(compared.problems, settings.ngram),
        )
        _settle_rows(source, refinery, journal, display, stop)
        if not len(journal):
            raise ProblemError(f"{settings.problems} holds no row")
        figures = assemble(
            settings.out,
            journal,
            judge,
            Duplicates(settings.near),
            Tally(lines=LineOverlap(compared.problems)),
            {
                "problems": settings.problems,
                "compared_with": list(compared.names),
                "not_compared_with": list(compared.missing),
                "unread_of_benchmarks": compared.unread,
            },
        )
    if not figures["kept"]:
        display.say(f"no row was kept: {_reasons(figures)}; each is in {settings.out / DROPPED}")
    return {**figures, "out": str(settings.out / PROBLEMS)}


def _reasons(figures: Mapping[str, Any]) -> str:
    """Counts of reasons, and of what was wrong with rows that could not be read."""
    told = {**figures["reasons"], **figures["unreadable"]}
    return ", ".join(f"{reason} ({count})" for reason, count in told.items())


def find_benchmarks(settings: BuildSettings) -> Compared:
    """The benchmarks of ``settings.against``; where none are named, the usual ones that are there.

    Raises:
      ProblemError: one that is named is not there, or one holds no problem.
    """
    names = settings.against or tuple(n for n in BENCHMARKS if n != settings.problems)
    problems: list[Problem] = []
    there, missing, unread = [], [], {}
    for name in names:
        try:
            rows = list(raw_rows(name, settings.manual_dir).read())
        except ProblemError:
            if settings.against:
                raise
            missing.append(name)
            continue
        readable = [row.problem for row in rows if isinstance(row, RawProblem)]
        if not readable:
            raise ProblemError(f"benchmark {name} holds no problem: nothing to compare with")
        if len(readable) < len(rows):
            unread[name] = len(rows) - len(readable)
        problems += readable
        there.append(name)
    return Compared(
        problems=tuple(problems), names=tuple(there), missing=tuple(missing), unread=unread
    )


def _make_folder(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise ConfigError(f"--out {path}: a file is there; give a folder") from error


@contextmanager
def _judge(settings: BuildSettings) -> Iterator[Judge]:
    """A judge with two executors, so that runs differ in what an interpreter draws at its start."""
    limits = settings.executor
    with ExitStack() as stack:
        executors = [stack.enter_context(executor(limits)) for _ in range(min(settings.runs, 2))]
        yield Judge(
            executors,
            Limits(
                wall_s=_WALL_FACTOR * settings.cpu_s,
                cpu_s=settings.cpu_s,
                memory_mb=limits.memory_mb,
                output_kb=limits.output_kb,
            ),
            settings.runs,
        )


def _settle_rows(
    source: RawRows, refinery: Refinery, journal: Journal, display: Display, stop: StopRequest
) -> None:
    """Writes down what becomes of every row that the journal does not know yet."""
    progress = _Progress(display, len(journal))
    workers = refinery.judge.n_slots + _ROWS_AHEAD
    rows = islice(enumerate(source.read()), refinery.settings.count)
    pool = ThreadPoolExecutor(workers, thread_name_prefix="data-build")
    waiting: set[Future[Entry]] = set()
    try:
        for number, found in rows:
            if number in journal:
                continue
            waiting.add(pool.submit(refinery.entry, number, found))
            if len(waiting) >= workers:
                waiting = _take(waiting, journal, progress, stop)
        while waiting:
            waiting = _take(waiting, journal, progress, stop)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
    progress.end()


def _take(
    waiting: set[Future[Entry]], journal: Journal, progress: "_Progress", stop: StopRequest
) -> set[Future[Entry]]:
    """Writes down what is settled, once anything is; returns the rest."""
    done, rest = wait(waiting, timeout=1.0, return_when=FIRST_COMPLETED)
    for future in done:
        entry = future.result()
        journal.add(entry)
        progress.count(entry)
    stop.check()
    return rest


class _Progress:
    """A line now and then: how many rows are settled, at what pace."""

    def __init__(self, display: Display, before: int) -> None:
        self._display = display
        self._before = before
        self._kept = self._done = 0
        self._began = self._told = time.monotonic()
        if before:
            display.say(f"{before} rows were settled before")

    def count(self, entry: Entry) -> None:
        """Another row is settled."""
        self._done += 1
        self._kept += entry.reason is None
        if time.monotonic() - self._told >= PLAIN_INTERVAL_S:
            self.end()

    def end(self) -> None:
        """Says how far it is."""
        self._told = time.monotonic()
        pace = self._done / max(self._told - self._began, 1e-3)
        counts = f"{self._done} rows settled: {self._kept} kept, {self._done - self._kept} dropped"
        self._display.say(f"{counts}  {pace:.1f} rows/s")
