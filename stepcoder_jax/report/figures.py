"""The charts of a run: which numbers are drawn, under what title, in what unit."""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from stepcoder_jax.report.charts import Series, heat_map, line_chart, stacked_chart
from stepcoder_jax.report.run_log import Row, number, numbers


@dataclass(frozen=True, kw_only=True)
class Curves:
    """A line chart to be drawn.

    Attributes:
      title, unit: as the reader sees them.
      keys: metrics on it, with their names in the legend.
      from_zero: whether 0 is on the axis.
    """

    title: str
    unit: str
    keys: tuple[tuple[str, str], ...]
    from_zero: bool = True


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A drawn chart; the legend pairs a name with its colour's class."""

    title: str
    unit: str
    svg: Markup
    legend: tuple[tuple[str, str], ...] = ()


ITERATION, STEP = "PPO iteration", "supervised step"
LINE_COLOURS = ("blue", "orange", "green", "purple")
VERDICT_COLOURS = {
    "passed": "passed",
    "failed": "failed",
    "runtime_error": "runtime",
    "timeout": "timeout",
    "memory_exceeded": "memory",
    "output_exceeded": "output",
    "compile_error": "compile",
    "executor_error": "infrastructure",
}
SECONDS_COLOURS = {"rollout": "blue", "execute": "orange", "score": "green", "update": "purple"}

PPO_CURVES = (
    Curves(
        title="Pass rate",
        unit="share of rollouts",
        keys=(("pass_rate", "all stages"), ("stage0_pass_rate", "from the beginning (stage 0)")),
    ),
    Curves(
        title="Reward",
        unit="mean score",
        keys=(("reward_mean", "all stages"), ("stage0_reward_mean", "stage 0")),
        from_zero=False,
    ),
    Curves(title="Curriculum stage", unit="mean; 0 is no prefix", keys=(("stage_mean", "stage"),)),
    Curves(
        title="Executed tokens",
        unit="share of response tokens in the policy loss",
        keys=(("executed_fraction", "executed"),),
    ),
    Curves(title="KL to the reference", unit="nats per token", keys=(("kl", "KL"),)),
    Curves(title="Entropy", unit="nats per token", keys=(("entropy", "entropy"),)),
    Curves(title="Clipped tokens", unit="share", keys=(("clip_fraction", "clipped"),)),
    Curves(
        title="Largest ratio",
        unit="new to old probability",
        keys=(("ratio_max", "ratio"),),
        from_zero=False,
    ),
    Curves(title="Policy loss", unit="", keys=(("policy_loss", "policy loss"),), from_zero=False),
    Curves(title="Value loss", unit="", keys=(("value_loss", "value loss"),)),
    Curves(
        title="Explained variance",
        unit="of returns, by the critic",
        keys=(("explained_variance", "explained variance"),),
    ),
    Curves(title="Response length", unit="mean tokens", keys=(("response_tokens_mean", "tokens"),)),
    Curves(
        title="Throughput", unit="response tokens per second", keys=(("tokens_per_s", "tokens/s"),)
    ),
)
SFT_CURVES = (
    Curves(title="Loss", unit="nats per token", keys=(("loss", "loss"),)),
    Curves(title="Throughput", unit="tokens per second", keys=(("tokens_per_s", "tokens/s"),)),
)


def ppo_figures(rows: Sequence[Row]) -> dict[str, Figure | None]:
    """Every chart of the PPO phase by title; None where no row has its numbers."""
    drawn = _all_curves(PPO_CURVES, rows, ITERATION)
    verdicts = _shares("Verdicts", "share of rollouts", "verdicts", VERDICT_COLOURS, rows)
    seconds = _shares("Time", "seconds per iteration", "seconds", SECONDS_COLOURS, rows)
    first = ("Pass rate", "Reward", "Curriculum stage")
    return {
        **{title: drawn[title] for title in first},
        "Stages": _stages(rows),
        "Verdicts": verdicts,
        **{title: figure for title, figure in drawn.items() if title not in first},
        "Time": seconds,
    }


def sft_figures(rows: Sequence[Row]) -> dict[str, Figure | None]:
    """Every chart of the supervised phase by title; None where no row has its numbers."""
    return _all_curves(SFT_CURVES, rows, STEP)


def _all_curves(
    wanted: Sequence[Curves], rows: Sequence[Row], x_label: str
) -> dict[str, Figure | None]:
    return {curves.title: _lines(curves, rows, x_label) for curves in wanted}


def _lines(curves: Curves, rows: Sequence[Row], x_label: str) -> Figure | None:
    lines = [
        Series(label=label, colour=colour, values=tuple(number(row, key) for row in rows))
        for (key, label), colour in zip(curves.keys, LINE_COLOURS, strict=False)
    ]
    shown = [line for line in lines if any(value is not None for value in line.values)]
    if not shown:
        return None
    svg = line_chart(curves.title, _steps(rows), shown, x_label=x_label, from_zero=curves.from_zero)
    legend = tuple((line.label, line.colour) for line in shown) if len(curves.keys) > 1 else ()
    return Figure(title=curves.title, unit=curves.unit, svg=svg, legend=legend)


def _shares(
    title: str, unit: str, key: str, colours: dict[str, str], rows: Sequence[Row]
) -> Figure | None:
    """Areas of the numbers in the mapping at `key`, in the order of `colours`."""
    tables = [numbers(row, key) for row in rows]
    names = [name for name in colours if any(table.get(name) for table in tables)]
    if not names:
        return None
    layers = [
        Series(label=name, colour=colours[name], values=tuple(t.get(name) for t in tables))
        for name in names
    ]
    svg = stacked_chart(title, _steps(rows), layers, x_label=ITERATION)
    legend = tuple((name.replace("_", " "), colours[name]) for name in names)
    return Figure(title=title, unit=unit, svg=svg, legend=legend)


def _stages(rows: Sequence[Row]) -> Figure | None:
    histograms = [(row, _counts(row)) for row in rows if _counts(row)]
    if not histograms:
        return None
    steps = _steps([row for row, _ in histograms])
    svg = heat_map("Stages", steps, [counts for _, counts in histograms], x_label=ITERATION)
    return Figure(title="Stages", unit="share of problems at each stage, dark is more", svg=svg)


def _counts(row: Row) -> list[float]:
    """The stage histogram of an iteration; empty if it has none or something is no count."""
    found = row.get("stage_histogram")
    entries = [number({"n": entry}, "n") for entry in found] if isinstance(found, list) else []
    known = [entry for entry in entries if entry is not None and entry >= 0]
    return known if len(known) == len(entries) else []


def _steps(rows: Sequence[Row]) -> list[float]:
    return [step for row in rows if (step := number(row, "step")) is not None]
