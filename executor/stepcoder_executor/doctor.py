"""What this machine can isolate, which rung is in use, and what to change for a higher one."""

import os
import platform
from typing import Any

from stepcoder_executor.ladder import RUNGS
from stepcoder_executor.slots import Slot, SlotRefusedError

MEANING = {
    "full": "own namespaces and root folder, Landlock, system-call filter, limits",
    "landlock": "Landlock, system-call filter, limits: only Python's own files can be read",
    "seccomp": "system-call filter, limits: files that this user may read can be read",
    "none": "limits only: programs can do whatever this user can",
}


def examine() -> dict[str, Any]:
    """Try every rung, from the top, and say what came of it.

    Returns:
        ``{"python", "kernel", "machine", "cpus", "rung", "required_ok", "rungs": [{"rung",
        "meaning", "works", "reason", "notes"}]}``; ``rung`` is the one that ``best`` takes, or
        None.
    """
    rungs = [_try(rung) for rung in RUNGS]
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
            lines.append(f"            why not, and what to change: {entry['reason']}")
        lines += [f"            note: {note}" for note in entry["notes"]]
    lines.append("")
    if report["rung"] is None:
        lines.append("Isolation 'best' and 'required' refuse to start here; only 'none' runs.")
    elif not report["required_ok"]:
        lines.append("Isolation 'required' refuses to start here; 'best' and 'none' run.")
    else:
        lines.append("Isolation 'required', 'best' and 'none' all run here.")
    return "\n".join(lines)


def _try(rung: str) -> dict[str, Any]:
    slot = Slot(rung)
    reason = None
    try:
        slot.wait_ready()
    except SlotRefusedError as error:
        reason = str(error)
    finally:
        slot.close()
    return {
        "rung": rung,
        "meaning": MEANING[rung],
        "works": reason is None,
        "reason": reason,
        "notes": slot.notes,
    }
