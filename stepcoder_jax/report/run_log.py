"""What a run directory says about its run, read leniently: half a run still has a report."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

type Row = Mapping[str, Any]

FILES = ("config.yaml", "metrics.jsonl", "summary.json", "samples.jsonl")


class ReportError(ValueError):
    """No report can be made of this path; the message names it and says why."""


@dataclass(frozen=True, kw_only=True)
class RunLog:
    """A run's records, in step order, each step once.

    Attributes:
      name: the run directory's own name.
      config: the recipe's text; None if there is no config.yaml.
      sft: metrics of the supervised phase.
      ppo: metrics of the PPO iterations.
      evaluations: one row for each label and problem set, in the order they were made.
      summary: pass rates before and after; empty until the run has ended.
      samples: shown rollouts of the iterations.
      gaps: a sentence for everything that is missing or unreadable.
    """

    name: str
    config: str | None
    sft: tuple[Row, ...]
    ppo: tuple[Row, ...]
    evaluations: tuple[Row, ...]
    summary: Row
    samples: tuple[Row, ...]
    gaps: tuple[str, ...]


def read_run(run_dir: Path) -> RunLog:
    """Reads whatever files of a run there are.

    Raises:
      ReportError: `run_dir` is not a directory, or holds none of a run's files.
    """
    if not run_dir.is_dir():
        raise ReportError(f"{run_dir} is not a run directory: there is no such directory")
    if not any((run_dir / name).is_file() for name in FILES):
        raise ReportError(f"{run_dir} is not a run directory: it has none of {', '.join(FILES)}")
    gaps: list[str] = []
    config = _read_text(run_dir / "config.yaml", gaps)
    metrics = _read_lines(run_dir / "metrics.jsonl", gaps)
    summary = _read_object(run_dir / "summary.json", gaps)
    samples = _read_lines(run_dir / "samples.jsonl", gaps)
    return RunLog(
        name=run_dir.resolve().name,
        config=config,
        sft=_by_step(metrics, "sft"),
        ppo=_by_step(metrics, "ppo"),
        evaluations=_latest_evaluations(metrics),
        summary=summary,
        samples=tuple(row for row in samples if number(row, "step") is not None),
        gaps=(*gaps, *_empty_phases(metrics)),
    )


def number(row: Row, key: str) -> float | None:
    """The finite number at `key`; None if there is none."""
    value = row.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def numbers(row: Row, key: str) -> dict[str, float]:
    """The finite numbers of the mapping at `key`, by name."""
    found = row.get(key)
    if not isinstance(found, dict):
        return {}
    known = {name: number(found, name) for name in found}
    return {name: value for name, value in known.items() if value is not None}


def _read_text(path: Path, gaps: list[str]) -> str | None:
    if not path.is_file():
        gaps.append(f"There is no {path.name}.")
        return None
    return path.read_text(encoding="utf-8", errors="replace")


def _read_object(path: Path, gaps: list[str]) -> Row:
    text = _read_text(path, gaps)
    if text is None:
        return {}
    row = _parse(text)
    if row is None:
        gaps.append(f"{path.name} is not a JSON object: left out.")
    return row or {}


def _read_lines(path: Path, gaps: list[str]) -> list[Row]:
    """Objects of a JSON lines file; a run that was killed may leave half a line."""
    text = _read_text(path, gaps) or ""
    lines = [(n, line) for n, line in enumerate(text.split("\n"), start=1) if line.strip()]
    rows = [(n, _parse(line)) for n, line in lines]
    bad = [n for n, row in rows if row is None]
    if bad:
        gaps.append(f"{path.name}: {len(bad)} lines are not JSON objects (first: line {bad[0]}).")
    return [row for _, row in rows if row is not None]


def _parse(text: str) -> Row | None:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _by_step(metrics: Sequence[Row], phase: str) -> tuple[Row, ...]:
    """A phase's rows in step order; of a step that was taken again, the last."""
    rows = [(number(row, "step"), row) for row in metrics if row.get("phase") == phase]
    latest = {step: row for step, row in rows if step is not None}
    return tuple(latest[step] for step in sorted(latest))


def _latest_evaluations(metrics: Sequence[Row]) -> tuple[Row, ...]:
    rows = [row for row in metrics if row.get("phase") == "eval"]
    latest = {(str(row.get("label")), str(row.get("set", ""))): row for row in rows}
    return tuple(latest.values())


def _empty_phases(metrics: Sequence[Row]) -> list[str]:
    names = {"sft": "supervised step", "ppo": "PPO iteration", "eval": "evaluation"}
    phases = {row.get("phase") for row in metrics}
    return [f"No {name} has been logged." for key, name in names.items() if key not in phases]
