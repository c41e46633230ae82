"""The page: a run's records, drawn and written as one HTML file that needs no network."""

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from stepcoder_jax.report.coverage_view import ShownRollout, shown_rollout, visible
from stepcoder_jax.report.figures import VERDICT_COLOURS, Figure, ppo_figures, sft_figures
from stepcoder_jax.report.run_log import ReportError, Row, RunLog, number, numbers, read_run
from stepcoder_jax.report.tables import OUTCOMES, evaluation_rows, headlines

SHOWN_ITERATIONS = 24


def write_report(run_dir: Path) -> Path:
    """Writes `report.html` into a run directory, from whatever files of the run are there.

    The page holds its style, charts and programs itself and refers to nothing outside. Programs and
    questions are untrusted text: they are escaped, and characters that hide others are shown.

    Args:
      run_dir: what `stepcoder train` has written, finished or not.

    Returns:
      Path of the page.

    Raises:
      ReportError: `run_dir` is not a run directory, or cannot be written to.
    """
    html = render(read_run(run_dir))
    page = run_dir / "report.html"
    part = run_dir / "report.html.part"
    try:
        part.write_text(html, encoding="utf-8")
        part.replace(page)
    except OSError as error:
        raise ReportError(f"{page} cannot be written: {error}") from error
    return page


def render(log: RunLog) -> str:
    """The page's HTML."""
    ppo, sft = ppo_figures(log.ppo), sft_figures(log.sft)
    shown = _shown_iterations(log.samples)
    return (
        environment()
        .get_template("page.html.jinja")
        .render(
            log=log,
            headlines=headlines(log),
            evaluations=evaluation_rows(log.evaluations),
            outcomes=list(OUTCOMES),
            ppo=_drawn(ppo),
            sft=_drawn(sft),
            undrawn=[title for title, figure in ppo.items() if figure is None] if log.ppo else [],
            facts=_facts(log),
            verdict_colours=VERDICT_COLOURS,
            iterations=shown,
            iterations_left_out=len({row["step"] for row in log.samples}) - len(shown),
        )
    )


def environment() -> Environment:
    """The templates of this package; every text is escaped on its way into a page."""
    return Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        finalize=_finalize,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _finalize(value: Any) -> Any:
    """Every text on its way into the page; what is markup already is ours."""
    return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _drawn(figures: dict[str, Figure | None]) -> list[Figure]:
    return [figure for figure in figures.values() if figure is not None]


def _facts(log: RunLog) -> list[tuple[str, str]]:
    """Short facts under the title."""
    facts = [("supervised steps", _last_step(log.sft)), ("PPO iterations", _last_step(log.ppo))]
    seconds = sum(
        sum(numbers(row, "seconds").values()) - (number(row, "hidden_s") or 0) for row in log.ppo
    )
    if seconds:
        facts.append(("time in PPO", _duration(seconds)))
    return [(name, value) for name, value in facts if value]


def _last_step(rows: Sequence[Row]) -> str:
    return f"{number(rows[-1], 'step'):,.0f}" if rows else ""


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def _shown_iterations(samples: Sequence[Row]) -> list[tuple[float, list[ShownRollout]]]:
    """Samples by iteration; of many iterations, an even choice with the first and the last."""
    ordered = sorted(samples, key=lambda row: row["step"])
    groups = [(step, list(rows)) for step, rows in groupby(ordered, lambda row: row["step"])]
    if len(groups) > SHOWN_ITERATIONS:
        stride = (len(groups) - 1) / (SHOWN_ITERATIONS - 1)
        groups = [groups[round(i * stride)] for i in range(SHOWN_ITERATIONS)]
    return [(step, [shown_rollout(row) for row in rows]) for step, rows in groups]
