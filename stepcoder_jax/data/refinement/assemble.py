"""The second pass: from the journal to the files, problems that come twice left out."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from stepcoder_jax.data.problems import parse_problem
from stepcoder_jax.data.refinement.card import Tally
from stepcoder_jax.data.refinement.duplicates import Duplicates
from stepcoder_jax.data.refinement.journal import Entry, Journal
from stepcoder_jax.data.refinement.judge import Judge
from stepcoder_jax.problem import Problem
from stepcoder_jax.report.data_card import render_card

PROBLEMS, DROPPED, FACTS = "problems.jsonl", "dropped.jsonl", "facts.jsonl"
# In the form of a run directory's file of this name, which `train` then does not make anew.
VERIFIED = "verified.json"
CARD, CARD_PAGE = "card.json", "card.html"


def assemble(
    folder: Path,
    journal: Journal,
    judge: Judge,
    duplicates: Duplicates,
    tally: Tally,
    told: Mapping[str, Any],
) -> dict[str, Any]:
    """Writes every file of a built set; each appears whole or not at all.

    Args:
      told: for the card: what the build was told and where it looked.

    Returns:
      The card's figures.
    """
    reference_s: dict[str, float] = {}
    with (
        _written(folder / PROBLEMS) as problems,
        _written(folder / DROPPED) as dropped,
        _written(folder / FACTS) as facts,
    ):
        for entry in journal.entries():
            reason = entry.reason or _repeats(entry, journal, judge, duplicates)
            if reason is not None:
                tally.drop(reason)
                _line(dropped, {"where": entry.where, "id": entry.id, "reason": reason})
                continue
            problem = _problem(entry)
            tally.keep(problem, entry)
            _line(problems, entry.row)
            _line(facts, {"id": entry.id, "where": entry.where, **entry.facts})
            reference_s[problem.id] = entry.facts["reference_cpu_s"]
    figures = {**told, **tally.figures()}
    for name, text in (
        (VERIFIED, json.dumps({"dropped": {}, "reference_s": reference_s})),
        (CARD, json.dumps(figures, indent=1, ensure_ascii=False)),
        (CARD_PAGE, render_card(figures)),
    ):
        with _written(folder / name) as out:
            out.write(text + "\n")
    return figures


def _repeats(entry: Entry, journal: Journal, judge: Judge, duplicates: Duplicates) -> str | None:
    """Why a problem is a duplicate; None if it is not."""
    problem = _problem(entry)

    def solves(number: int) -> bool:
        solution = _problem(journal.entry(number)).canonical_solution
        return judge.passes(solution or "", problem.tests)

    number = duplicates.find(entry.number, problem, solves)
    if number is None:
        return None
    earlier = journal.entry(number)
    return f"duplicate: of {earlier.id} ({earlier.where})"


def _problem(entry: Entry) -> Problem:
    return parse_problem(entry.row, entry.where)


def _line(out: TextIO, fields: Any) -> None:
    out.write(json.dumps(fields, ensure_ascii=False) + "\n")


@contextmanager
def _written(path: Path) -> Iterator[TextIO]:
    """A file that takes its name when the block ends well."""
    part = path.with_name(path.name + ".part")
    with part.open("w", encoding="utf-8") as out:
        yield out
    part.replace(path)
