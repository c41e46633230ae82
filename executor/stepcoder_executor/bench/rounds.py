"""Programs a second on this machine, beside the limit that a bare fork sets.

Every row runs in a process of its own, once a round, the rows of a round one after another: what
else the machine does meanwhile falls on all of them. Ratios are taken within a round.
"""

import os
import platform
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from stepcoder_executor.bench.processes import available_gib
from stepcoder_executor.bench.row import Measured, Row, measure_row
from stepcoder_executor.bench.slot import (
    measure_memory,
    measure_overshoot,
    measure_start,
    spread,
)
from stepcoder_executor.config import ExecutorConfig

BARE, LAYERS, LAYERS_COVERAGE = "bare fork", "all layers", "all layers, coverage"
NO_LAYERS, NO_LAYERS_COVERAGE = "no layers", "no layers, coverage"
_LARGE_FORK_SHARE = 20
_SPARE_GIB = 1.0

Rounds = list[dict[tuple[str, float], Measured]]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What to measure.

    programs: programs a row and round; a fork of a large process runs a twentieth of them.
    slots: programs at a time; 0 means one for each usable CPU.
    parent_gib: GiB that the calling process holds in the rows that ask for it; 0: no such rows.
    starts: slots started for the time that it takes.
    endless: endless programs run for how far they overrun their time.
    """

    programs: int = 600
    rounds: int = 5
    slots: int = 0
    parent_gib: float = 3.0
    starts: int = 5
    endless: int = 20

    def __post_init__(self) -> None:
        least_of = {"programs": 1, "rounds": 1, "slots": 0, "parent_gib": 0}
        for name, least in (least_of | {"starts": 1, "endless": 1}).items():
            if getattr(self, name) < least:
                raise ValueError(f"{name} is {getattr(self, name)}; allowed: {least} or more")

    def rows(self) -> dict[tuple[str, float], Row]:
        """The rows by name and GiB held."""
        slots = ExecutorConfig(slots=self.slots).n_slots
        ours = Row(runner="executor", programs=self.programs, slots=slots)
        bare = replace(ours, runner="fork")
        rows = {
            (BARE, 0.0): bare,
            (LAYERS, 0.0): ours,
            (LAYERS_COVERAGE, 0.0): replace(ours, coverage=True),
            (NO_LAYERS, 0.0): replace(ours, isolation="none"),
            (NO_LAYERS_COVERAGE, 0.0): replace(ours, isolation="none", coverage=True),
        }
        if self.parent_gib:
            gib, few = self.parent_gib, max(self.programs // _LARGE_FORK_SHARE, 1)
            rows[LAYERS, gib] = replace(ours, parent_gib=gib)
            rows[BARE, gib] = replace(bare, parent_gib=gib, programs=few)
        return rows


def measure(plan: Plan, say: Callable[[str], None] | None = None) -> dict[str, Any]:
    """Measure the plan's rows, then what a slot costs.

    Args:
        plan: what to measure.
        say: called with what is being measured; None: nobody is told.

    Returns:
        ``{"machine", "plan", "rows": [{"runner", "rung", "parent_gib", "programs",
        "programs_per_s", "cpu_ms_per_program", "of_bare", "of_bare_cpu"}], "costs": {"layers",
        "coverage", "parent"}, "slot": {"start_s", "memory"}, "overshoot_ms"}``. Every figure of the
        rows is ``{"median", "min", "max"}`` over the rounds: ``of_bare`` is the rate divided by
        the bare fork's, ``of_bare_cpu`` the bare fork's CPU time divided by the row's, which says
        more on a busy machine. A cost is the share of time, and of CPU time, that is added.

    Raises:
        ValueError: the machine has less free memory than ``plan.parent_gib`` asks for.
        RuntimeError: a row failed, or a verdict was wrong.
    """
    if plan.parent_gib and available_gib() < plan.parent_gib + _SPARE_GIB:
        raise ValueError(
            f"parent_gib is {plan.parent_gib:g} and {available_gib():.1f} GiB of memory is free; "
            f"allowed: at most {max(available_gib() - _SPARE_GIB, 0):.1f}, or 0 for no such rows"
        )
    rows, tell = plan.rows(), say or _say_nothing
    load_before = os.getloadavg()
    rounds: Rounds = []
    for number in range(plan.rounds):
        # Every other round backwards, so that a slow change of the machine favours no row.
        order = list(rows)[:: -1 if number % 2 else 1]
        found = {}
        for name, gib in order:
            tell(f"round {number + 1} of {plan.rounds}: {name}, caller holds {gib:g} GiB")
            found[name, gib] = measure_row(rows[name, gib])
        rounds.append(found)
    rung = rounds[0][LAYERS, 0.0].rung
    tell("start, memory and time limit of a slot")
    return {
        "machine": _machine(rung, load_before),
        "plan": {"programs": plan.programs, "rounds": plan.rounds, "slots": rows[BARE, 0].slots},
        "rows": [_line(key, rows[key], rounds) for key in rows],
        "costs": _costs(rounds, plan.parent_gib),
        "slot": {"start_s": measure_start(rung, plan.starts), "memory": measure_memory()},
        "overshoot_ms": measure_overshoot(plan.endless),
    }


def progress() -> Callable[[str], None] | None:
    """A line on stderr that says what is being measured, where stderr is a terminal."""
    if not sys.stderr.isatty():
        return None

    def say(what: str) -> None:
        print(f"\r\033[K{what}", end="", file=sys.stderr, flush=True)

    return say


def _say_nothing(what: str) -> None:
    """Nobody is told."""


def _machine(rung: str, load_before: tuple[float, ...]) -> dict[str, Any]:
    return {
        "python": platform.python_version(),
        "kernel": platform.release(),
        "machine": platform.machine(),
        "cpus": len(os.sched_getaffinity(0)),
        "rung": rung,
        "load_average_before": load_before[0],
        "load_average_after": os.getloadavg()[0],
    }


def _line(key: tuple[str, float], row: Row, rounds: Rounds) -> dict[str, Any]:
    pairs = [(found[key], found[BARE, 0.0]) for found in rounds]
    return {
        "runner": key[0],
        "rung": rounds[0][key].rung,
        "parent_gib": key[1],
        "programs": row.programs,
        "programs_per_s": spread([own.programs_per_s for own, _ in pairs]),
        "cpu_ms_per_program": spread([own.cpu_ms_per_program for own, _ in pairs]),
        "of_bare": spread([own.programs_per_s / bare.programs_per_s for own, bare in pairs]),
        "of_bare_cpu": spread(
            [bare.cpu_ms_per_program / own.cpu_ms_per_program for own, bare in pairs]
        ),
    }


def _costs(rounds: Rounds, parent_gib: float) -> dict[str, dict[str, dict[str, float]]]:
    """The share of time that each thing adds, and the same of CPU time."""
    pairs = {
        "layers": ((LAYERS, 0.0), (NO_LAYERS, 0.0)),
        "coverage": ((LAYERS_COVERAGE, 0.0), (LAYERS, 0.0)),
    }
    if parent_gib:
        pairs["parent"] = ((LAYERS, parent_gib), (LAYERS, 0.0))
    return {
        what: {
            "time": spread(
                [f[without].programs_per_s / f[with_].programs_per_s - 1 for f in rounds]
            ),
            "cpu": spread(
                [f[with_].cpu_ms_per_program / f[without].cpu_ms_per_program - 1 for f in rounds]
            ),
        }
        for what, (with_, without) in pairs.items()
    }
