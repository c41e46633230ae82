"""What a person sees while a run goes on: a bar on a terminal, plain lines elsewhere."""

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

# Seconds between two plain lines, so that a log of a long run stays readable.
PLAIN_INTERVAL_S = 5.0


# Shows how one phase gets on: steps done, and what there is to say about them.
type Meter = Callable[[int, Mapping[str, str]], None]


class Display:
    """Writes to standard error, so that ``--json`` output stays clean.

    Args:
      shows: False writes nothing: of several processes one is enough.
    """

    def __init__(self, *, shows: bool = True) -> None:
        self._shows = shows
        self._console = Console(stderr=True, highlight=False)

    def say(self, text: str) -> None:
        """One line."""
        if not self._shows:
            return
        if self._console.is_terminal:
            self._console.print(text, markup=False)
        else:
            print(text, file=sys.stderr, flush=True)

    @contextmanager
    def phase(self, name: str, total: int, done: int = 0) -> Iterator[Meter]:
        """Shows a phase of ``total`` steps of which ``done`` were done before."""
        if not self._shows:
            yield lambda now, facts: None
        elif self._console.is_terminal:
            with self._bar(name, total, done) as meter:
                yield meter
        else:
            yield _plain_meter(name, total, done)

    @contextmanager
    def _bar(self, name: str, total: int, done: int) -> Iterator[Meter]:
        columns = (
            TextColumn("[bold]{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.completed}/{task.total}"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[facts]}"),
        )
        clock = _Clock(total, done)
        with Progress(*columns, console=self._console) as bar:
            task = bar.add_task(name, total=total, completed=done, facts="")

            def meter(now: int, facts: Mapping[str, str]) -> None:
                bar.update(task, completed=now, facts=_join({**facts, "left": clock.left(now)}))

            yield meter


def _plain_meter(name: str, total: int, done: int) -> Meter:
    clock = _Clock(total, done)
    last = 0.0

    def meter(now: int, facts: Mapping[str, str]) -> None:
        nonlocal last
        if now == total or time.monotonic() - last >= PLAIN_INTERVAL_S:
            last = time.monotonic()
            text = _join({**facts, "left": clock.left(now)})
            print(f"{name} {now}/{total}  {text}", file=sys.stderr, flush=True)

    return meter


class _Clock:
    """Estimates the time left from the steps behind the first, which compiles."""

    def __init__(self, total: int, done: int) -> None:
        self._total, self._done = total, done
        self._first: tuple[int, float] | None = None

    def left(self, now: int) -> str:
        at = time.monotonic()
        if self._first is None and now > self._done:
            self._first = (now, at)
        if now >= self._total:
            return "0:00"
        if self._first is None or now <= self._first[0]:
            return "?"
        pace = (at - self._first[1]) / (now - self._first[0])
        minutes, seconds = divmod(round(pace * (self._total - now)), 60)
        return f"{minutes}:{seconds:02d}"


def _join(facts: Mapping[str, str]) -> str:
    return "  ".join(f"{name} {value}" for name, value in facts.items())
