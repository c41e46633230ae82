"""A plan in words and tables, for people."""

from collections.abc import Mapping
from typing import Any

_GIB = 2**30
_SHOWN_TRIALS = 12


def plan_text(plan: Mapping[str, Any]) -> str:
    """What ``stepcoder plan`` prints; ``plan`` as ``make_plan`` returns it."""
    mesh = " × ".join(f"{name} {size}" for name, size in plan["mesh"].items())
    device = plan["device"]
    lines = [
        f"{plan['topology']}: {_counted(plan['chips'], 'chip')},"
        f" {_counted(plan['devices'], 'device')}, mesh {mesh}",
        f"a device: {_gib(device['hbm_bytes'])} GiB at {device['hbm_bytes_per_s'] / 1e9:.0f} GB/s,"
        f" {device['bf16_flops_per_s'] / 1e12:.0f} TFLOP/s bfloat16,"
        f" {device['axis_bytes_per_s'] / 1e9:.0f} GB/s a torus dimension",
        f"compiled by {plan['compiler']}" if plan["compiler"] else "by formula",
        f"model: {plan['parameters'] / 1e6:,.1f} M parameters; an optimizer step:"
        f" {plan['update_rows']} rows of {plan['row_tokens']} tokens; {plan['slots']} rows decoded"
        " together",
        "",
        *_memory_table(plan["programs"]),
        "",
        *_time_table(plan["programs"]),
        "",
        *_exchanges(plan["programs"]),
        "everything fits" if plan["fits"] else "DOES NOT FIT",
        *(f"* {text}" for text in plan["suggestions"]),
        *(_sweep_table(plan["sweep"]) if "sweep" in plan else []),
        "",
        "assumptions:",
        *(f"* {text}" for text in plan["assumptions"]),
    ]
    return "\n".join(lines)


def _counted(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"


def _memory_table(programs: Any) -> list[str]:
    columns = ("arguments", "new outputs", "temporaries", "code", "resident", "peak", "free")
    lines = [f"GiB a device{'':4}" + "".join(f"{c:>12}" for c in columns) + "  source"]
    for p in programs:
        new = p["output_bytes"] - p["aliased_bytes"]
        sizes = (
            p["argument_bytes"],
            new,
            p["temporary_bytes"],
            p["code_bytes"],
            p["resident_bytes"],
            p["peak_bytes"],
            p["free_bytes"],
        )
        cells = "".join(f"{_gib(size):>12}" for size in sizes)
        lines.append(f"{p['program']:16}{cells}  {p['source']}")
    return lines


def _time_table(programs: Any) -> list[str]:
    columns = ("compute ms", "memory ms", "network ms", "at best ms", "in turn ms")
    head = "".join(f"{c:>12}" for c in columns)
    lines = [f"a call{'':10}{head}{'bound by':>10}{'tok/s/chip':>12}{'MFU':>7}{'TFLOP':>10}"]
    for p in programs:
        times = ("compute_s", "memory_s", "network_s", "least_s", "in_turn_s")
        cells = "".join(f"{1e3 * p[name]:>12.2f}" for name in times)
        lines.append(
            f"{p['program']:16}{cells}{p['bound']:>10}{p['tokens_per_s_per_chip']:>12,.0f}"
            f"{p['mfu']:>7.1%}{p['model_flops'] / 1e12:>10.2f}"
        )
    return lines


def _exchanges(programs: Any) -> list[str]:
    lines = []
    for p in programs:
        if not p["collectives"]:
            continue
        lines.append(f"{p['program']} exchanges:")
        lines += [
            f"  {c['count']:>5} × {c['kind']:18} of {c['bytes'] / 2**20:>10.3f} MiB among"
            f" {c['group']} devices"
            for c in p["collectives"]
        ]
    return [*lines, ""] if lines else []


def _sweep_table(trials: Any) -> list[str]:
    lines = ["", f"sweep, by formula: {len(trials)} tried, the best first"]
    for t in trials[:_SHOWN_TRIALS]:
        mesh = " × ".join(f"{name} {size}" for name, size in t["mesh"].items())
        fits = "fits" if t["fits"] else "DOES NOT FIT"
        lines.append(
            f"  {mesh:30} micro-batches {t['microbatches']:<5} {_gib(t['peak_bytes']):>8} GiB"
            f" {fits:12} {t['update_s']:>9.3f} s of updates, {t['bound']} bound, MFU {t['mfu']:.1%}"
        )
    return lines


def _gib(size: float) -> str:
    return f"{size / _GIB:.2f}"
