"""How many wrong programs the tests of a built set catch: the given ones, and with the made ones.

    python tests/data/kill_rate.py BUILT_FOLDER

A wrong program is a canonical solution with one constant, comparison or sign changed or two
branches swapped. Some of these are right all the same: no set of tests catches all of them.
"""

import json
import sys
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

from builtin_mutants import mutants
from stepcoder_executor import (
    ExecutorClient,
    ExecutorConfig,
    IoTests,
    Limits,
    Request,
    Result,
    Verdict,
)

from stepcoder_jax.data.problem_file import read_jsonl
from stepcoder_jax.data.raw import RawProblem
from stepcoder_jax.problem import Problem

LIMITS = Limits(wall_s=3, cpu_s=0.5)
# Of a problem, spread evenly over the program.
MOST = 50


def kill_rate(built: Path) -> dict[str, float]:
    """Counts over the problems of a folder that `stepcoder data build` made tests for."""
    facts = (json.loads(line) for line in (built / "facts.jsonl").read_text().splitlines())
    added = {fact["id"]: fact["tests_added"] for fact in facts}
    rows = read_jsonl("", [built / "problems.jsonl"])
    problems = [row.problem for row in rows if isinstance(row, RawProblem)]
    grown = [problem for problem in problems if added[problem.id]]
    with ExecutorClient(ExecutorConfig(slots=2)) as client:
        results = list(client.run(_requests(grown)))
    caught = [result for result in results if result.verdict is not Verdict.PASSED]
    given = {p.id: len(p.tests.inputs) - added[p.id] for p in grown if isinstance(p.tests, IoTests)}
    by_given = [r for r in caught if _place(r) < given[r.id.partition(" ")[2]]]
    return {
        "problems": len(grown),
        "wrong_programs": len(results),
        "caught_by_given": len(by_given) / len(results),
        "caught_by_all": len(caught) / len(results),
    }


def _place(result: Result) -> int:
    """Of the first test that does not pass; 0 where none could be run."""
    return next((k for k, t in enumerate(result.tests) if t.verdict is not Verdict.PASSED), 0)


def _requests(problems: Sequence[Problem]) -> Iterator[Request]:
    for problem in problems:
        wrong = list(mutants(problem.canonical_solution or ""))
        for number, source in enumerate(wrong[:: 1 + len(wrong) // MOST]):
            yield Request(
                id=f"{number} {problem.id}", source=source, tests=problem.tests, limits=LIMITS
            )


if __name__ == "__main__":
    # Of invalid escapes, in solutions that run all the same.
    warnings.simplefilter("ignore", SyntaxWarning)
    print(json.dumps(kill_rate(Path(sys.argv[1]))))
