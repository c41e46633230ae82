"""What this machine can isolate, which rung is in use, and what to change for a higher one."""

import os
import platform
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from stepcoder_executor.ladder import RUNGS
from stepcoder_executor.obstacles import Facts, advice, read_facts
from stepcoder_executor.slots import Slot, SlotRefusedError

MEANING = {
    "full": "own namespaces and root folder, Landlock, system-call filter, limits",
    "landlock": "Landlock, system-call filter, limits: only Python's own files can be read",
    "seccomp": "system-call filter, limits: files that this user may read can be read",
    "none": "limits only: programs can do whatever this user can",
}
_UNKNOWN = "nothing that usually stands in the way was found: the reason above is all there is"
_INDENT = " " * 12


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """What came of starting a slot on a rung. ``reason``: why it failed, None where it works."""

    reason: str | None
    notes: tuple[str, ...] = ()


def attempt(rung: str) -> Attempt:
    """Start a slot on a rung, and end it."""
    slot = Slot(rung)
    reason = None
    try:
        slot.wait_ready()
    except SlotRefusedError as error:
        reason = str(error)
    finally:
        slot.close()
    return Attempt(reason=reason, notes=tuple(slot.notes))


def examine(
    try_rung: Callable[[str], Attempt] = attempt, facts: Facts | None = None
) -> dict[str, Any]:
    """Try every rung, from the top, and say what came of it.

    Args:
        try_rung: starts a slot on a rung.
        facts: what the machine says of itself; None: it is asked.

    Returns:
        ``{"python", "kernel", "machine", "cpus", "rung", "required_ok", "rungs": [{"rung",
        "meaning", "works", "reason", "advice", "notes"}], "facts"}``; ``rung`` is the one that
        ``best`` takes, or None; ``advice`` is what to change where a rung does not work.
    """
    facts = facts or read_facts()
    rungs = [_entry(rung, try_rung(rung), facts) for rung in RUNGS]
    works = [entry["rung"] for entry in rungs if entry["works"]]
    best = next((rung for rung in works if rung != "none"), None)
    return {
        "python": platform.python_version(),
        "kernel": platform.release(),
        "machine": platform.machine(),
        "cpus": len(os.sched_getaffinity(0)),
        "rung": best,
        "required_ok": best in RUNGS[:2],
        "rungs": rungs,
        "facts": asdict(facts),
    }


def describe(report: dict[str, Any]) -> str:
    """The report of :func:`examine` for a person."""
    lines = [
        f"Python {report['python']} on Linux {report['kernel']} ({report['machine']}), "
        f"{report['cpus']} usable CPUs",
        "",
    ]
    for entry in report["rungs"]:
        mark = "in use" if entry["rung"] == report["rung"] else "works" if entry["works"] else "no"
        lines.append(f"  {entry['rung']:<9} {mark:<7} {entry['meaning']}")
        if not entry["works"]:
            lines.append(f"{_INDENT}why not: {entry['reason']}")
            lines += [f"{_INDENT}to change: {step}" for step in entry["advice"] or [_UNKNOWN]]
        lines += [f"{_INDENT}note: {note}" for note in entry["notes"]]
    return "\n".join([*lines, "", _outcome(report)])


def _outcome(report: dict[str, Any]) -> str:
    if report["rung"] is None:
        runs = [entry["rung"] for entry in report["rungs"] if entry["works"]]
        left = f"only {runs[0]!r} runs" if runs else "no program can be run at all"
        return f"Isolation 'best' and 'required' refuse to start here; {left}."
    if not report["required_ok"]:
        return "Isolation 'required' refuses to start here; 'best' and 'none' run."
    return "Isolation 'required', 'best' and 'none' all run here."


def _entry(rung: str, tried: Attempt, facts: Facts) -> dict[str, Any]:
    reason = tried.reason
    return {
        "rung": rung,
        "meaning": MEANING[rung],
        "works": reason is None,
        "reason": reason and reason.removeprefix("UnsupportedError: "),
        "advice": [] if reason is None else advice(rung, reason, facts),
        "notes": list(tried.notes),
    }
