"""The benchmark's report as a table for a person."""

from typing import Any


def table(report: dict[str, Any]) -> str:
    """What :func:`stepcoder_executor.bench.rounds.measure` gave, in lines of text."""
    machine, plan = report["machine"], report["plan"]
    lines = [
        f"Python {machine['python']}, Linux {machine['kernel']} ({machine['machine']}), "
        f"{machine['cpus']} CPUs, load {machine['load_average_before']:.1f} before and "
        f"{machine['load_average_after']:.1f} after",
        f"{plan['slots']} programs at a time, median of {plan['rounds']} rounds (least–most)",
        "",
        f"{'runner':<31}{'caller holds':>14}{'programs/s':>18}{'CPU ms a program':>23}"
        f"{'of bare':>19}{'of bare, CPU':>19}",
    ]
    lines += [_line(row) for row in report["rows"]]
    lines += ["", *(f"{name}: {text}" for name, text in _remarks(report).items())]
    return "\n".join(lines)


def _line(row: dict[str, Any]) -> str:
    name = f"{row['runner']} ({row['rung']})" if row["rung"] else row["runner"]
    return (
        f"{name:<31}{row['parent_gib']:>10g} GiB"
        f"{_figure(row['programs_per_s'], '.0f'):>18}"
        f"{_figure(row['cpu_ms_per_program'], '.2f'):>23}"
        f"{_figure(row['of_bare'], '.2f'):>19}{_figure(row['of_bare_cpu'], '.2f'):>19}"
    )


def _remarks(report: dict[str, Any]) -> dict[str, str]:
    slot, overshoot = report["slot"], report["overshoot_ms"]
    what = {"layers": "layers add", "coverage": "coverage adds", "parent": "a large caller adds"}
    remarks = {
        what[
            name
        ]: f"{_figure(cost['time'], '+.0%')} of time, {_figure(cost['cpu'], '+.0%')} of CPU"
        for name, cost in report["costs"].items()
    }
    memory = slot["memory"]
    shared = "not shown to this user" if memory["pss_mib"] is None else f"{memory['pss_mib']:.1f}"
    return remarks | {
        "slot start": f"{_figure(slot['start_s'], '.3f')} s",
        "slot memory": f"{shared} MiB PSS, {memory['rss_anon_mib']:.1f} MiB anonymous",
        "past a time limit": f"{_figure(overshoot, '.0f')} ms, {overshoot['programs']} programs",
        "CPU time": "of the caller, the broker, the slots and the programs",
    }


def _figure(values: dict[str, float], form: str) -> str:
    return f"{values['median']:{form}} ({values['min']:{form}}–{values['max']:{form}})"
