"""One row on its way: normalised, compared, judged, chosen from, given more tests."""

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from stepcoder_executor import IoTests, Tests, Verdict

from stepcoder_jax.data.json_rows import Rejected
from stepcoder_jax.data.problems import problem_to_json, tidy
from stepcoder_jax.data.raw import Found, RawProblem
from stepcoder_jax.data.refinement.choose import choose
from stepcoder_jax.data.refinement.contamination import Benchmarks
from stepcoder_jax.data.refinement.journal import Entry
from stepcoder_jax.data.refinement.judge import Judge, Trial, different
from stepcoder_jax.data.refinement.more_tests import Grown, grow
from stepcoder_jax.data.refinement.normalise import normal_tests, unquoted
from stepcoder_jax.data.refinement.settings import BuildSettings
from stepcoder_jax.problem import Problem

# Before the details of why a row could not be read.
UNREADABLE = "unreadable"
# The executor's own failure: it says nothing about the row, which the next run tries again.
UNJUDGED = Verdict.EXECUTOR_ERROR.value


class Dropped(Exception):
    """A row ends here; the message has the kind of reason before a colon."""


@dataclass(frozen=True, kw_only=True)
class Refinery:
    """What all rows go through; its methods may be called from several threads."""

    settings: BuildSettings
    judge: Judge
    benchmarks: Benchmarks

    def entry(self, number: int, found: Found) -> Entry:
        """What becomes of a row."""
        if isinstance(found, Rejected):
            reason = f"{UNREADABLE}: {found.reason}"
            return Entry(number=number, where=found.where, id=None, reason=reason)
        name = found.problem.id
        try:
            problem, facts = self._refined(found)
        except Dropped as dropped:
            return Entry(number=number, where=found.where, id=name, reason=str(dropped))
        row = problem_to_json(problem)
        return Entry(number=number, where=found.where, id=name, reason=None, row=row, facts=facts)

    def _refined(self, raw: RawProblem) -> tuple[Problem, dict[str, Any]]:
        given = [solution.removeprefix("\ufeff") for solution in raw.solutions]
        solutions = [given[k] for k in different(given)][: self.settings.solutions]
        problem = self._normal(raw, solutions)
        self._require_clean(problem, solutions)
        trials = self._trials(solutions, problem.tests)
        read_otherwise = unquoted(problem.tests)
        if read_otherwise is not None and not any(trial.passed for trial in trials):
            again = self._trials(solutions, read_otherwise)
            if any(trial.passed for trial in again):
                problem, trials = replace(problem, tests=read_otherwise), again
        passing = [trial for trial in trials if trial.passed]
        if not passing:
            raise Dropped(_why_none(trials))
        chosen = passing.pop(choose([trial.source for trial in passing]))
        problem = replace(problem, tests=self._unwrapped(problem.tests, chosen.source))
        grown = self._grown(problem, chosen, passing)
        problem = replace(
            problem,
            canonical_solution=chosen.source,
            tests=problem.tests if grown is None else grown.tests,
        )
        return problem, _facts(trials, chosen, passing, grown)

    def _trials(self, solutions: Sequence[str], tests: Tests) -> list[Trial]:
        return [self.judge.try_solution(source, tests) for source in solutions]

    def _unwrapped(self, tests: Tests, solution: str) -> Tests:
        """Tests of calls with each result itself, where all are given as lists of one, as in APPS
        they mostly are.
        """
        if not isinstance(tests, IoTests) or tests.fn_name is None:
            return tests
        if not all(isinstance(given, list) and len(given) == 1 for given in tests.outputs):
            return tests
        inner = [given[0] for given in tests.outputs]
        are_wrapped = self.judge.outputs(solution, tests) == inner
        return replace(tests, outputs=tuple(inner)) if are_wrapped else tests

    def _normal(self, raw: RawProblem, solutions: Sequence[str]) -> Problem:
        if not raw.problem.question.strip():
            raise Dropped("no question")
        if not solutions:
            raise Dropped("no solution")
        tests = normal_tests(raw.problem.tests, solutions)
        if tests is None:
            raise Dropped("no usable test: every one is blank, or has NaN or infinity in it")
        problem = raw.problem
        return replace(problem, question=tidy(problem.question), tests=tests)

    def _require_clean(self, problem: Problem, solutions: Sequence[str]) -> None:
        worst = self.benchmarks.worst(problem)
        if worst is not None and worst.share >= self.settings.overlap:
            share = f"{worst.share:.0%} of the n-grams of {worst.problem_id}"
            raise Dropped(f"contaminated: has {share}")
        solved = self.benchmarks.solved_by(solutions)
        if solved is not None:
            raise Dropped(f"contaminated: a solution is that of {solved}, but for its names")

    def _grown(self, problem: Problem, chosen: Trial, others: Sequence[Trial]) -> Grown | None:
        settings, tests = self.settings, problem.tests
        is_believed = len(others) + 1 >= settings.agree
        if not (settings.tests and is_believed and isinstance(tests, IoTests)):
            return None
        return grow(
            tests,
            chosen.source,
            [trial.source for trial in others],
            self.judge,
            target=settings.tests,
            rng=random.Random(f"{settings.seed} {problem.id}"),
        )


def _why_none(trials: Sequence[Trial]) -> str:
    """The most frequent outcome, and what it was about where it came first."""
    outcomes = Counter(trial.outcome for trial in trials)
    kind = UNJUDGED if UNJUDGED in outcomes else outcomes.most_common(1)[0][0]
    first = next(trial for trial in trials if trial.outcome == kind)
    counts = ", ".join(f"{name} {count}" for name, count in outcomes.most_common())
    return f"{kind}: none of {len(trials)} solutions passes ({counts}); {first.detail}"


def _facts(
    trials: Sequence[Trial], chosen: Trial, others: Sequence[Trial], grown: Grown | None
) -> dict[str, Any]:
    passing = [chosen, *others]
    return {
        "solutions": dict(Counter(trial.outcome for trial in trials)),
        "reference_cpu_s": chosen.cpu_s,
        # Of the canonical solution first.
        "branches": [[trial.taken, trial.arms] for trial in passing],
        "branches_at_the_end": [chosen.taken, chosen.arms] if grown is None else _at_the_end(grown),
        "tests_added": 0 if grown is None else grown.added,
        "saturated": None if grown is None else grown.saturated,
    }


def _at_the_end(grown: Grown) -> list[int]:
    return [grown.taken, grown.arms]
