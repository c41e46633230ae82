"""The page of a data card: figures as tables and bars, one HTML file that needs no network."""

from collections.abc import Mapping
from typing import Any

from stepcoder_jax.report.charts import bar_chart
from stepcoder_jax.report.figures import Figure
from stepcoder_jax.report.page import environment

# Figure of the card -> title, what a bar is, what its height is.
CHARTS = {
    "conditional_statements": ("Conditional statements", "of the canonical solution (E)"),
    "tests": ("Tests a problem", "tests"),
    "solutions_passing": ("Solutions that pass", "of a problem"),
    "reference_cpu_s": ("Reference CPU time", "of the slowest test"),
    "line_overlap": ("Lines found in the set", "share of a benchmark solution's lines"),
}
TABLES = ("difficulty", "style", "source", "reasons", "unreadable")
_UP_TO, _MORE = "up to ", "more than "


def render_card(card: Mapping[str, Any]) -> str:
    """The page of a built set's figures.

    Args:
      card: as `stepcoder data build` writes them into `card.json`.
    """
    figures = [
        Figure(title=title, unit=unit, svg=bar_chart(title, _bars(card[name]), x_label=unit))
        for name, (title, unit) in CHARTS.items()
        if any(card[name].values())
    ]
    tables = {name: card[name] for name in TABLES if card[name]}
    return (
        environment()
        .get_template("card.html.jinja")
        .render(card=card, figures=figures, tables=tables)
    )


def _bars(counts: Mapping[str, int]) -> list[tuple[str, float]]:
    """A bar a value; between the least and the greatest whole number none is left out."""
    if not all(name.isdigit() for name in counts):
        short = {name: name.replace(_UP_TO, "≤").replace(_MORE, ">") for name in counts}
        return [(short[name], float(count)) for name, count in counts.items()]
    known = {int(name): count for name, count in counts.items()}
    if max(known) - min(known) > 200:
        return [(str(value), float(known[value])) for value in sorted(known)]
    return [(str(v), float(known.get(v, 0))) for v in range(min(known), max(known) + 1)]
