"""What is in a problem set, and whether its solutions pass their own tests."""

import os
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from stepcoder_executor import AssertionTests, ExecutorClient, ExecutorConfig, Tests

from stepcoder_jax.config import CurriculumConfig, ExecutorSettings
from stepcoder_jax.problem import Problem
from stepcoder_jax.stages import conditional_statements, stage_count
from stepcoder_jax.verify import verify


def problem_stats(problems: Sequence[Problem]) -> dict[str, Any]:
    """Counts by difficulty, style and source; tests a problem; E_i and stages of CCCS."""
    solutions = [p.canonical_solution for p in problems if p.canonical_solution is not None]
    keywords = CurriculumConfig().statements
    parsed = [s for s in solutions if _parses(s)]
    statements = [len(conditional_statements(s, keywords)) for s in parsed]
    tests = [test_count(p.tests) for p in problems]
    return {
        "problems": len(problems),
        "difficulty": dict(Counter(p.difficulty for p in problems)),
        "style": dict(Counter(style_of(p.tests) for p in problems)),
        "source": dict(Counter(p.source for p in problems)),
        "tests_per_problem": {"min": min(tests), "mean": float(np.mean(tests)), "max": max(tests)},
        "without_solution": len(problems) - len(solutions),
        "unparsable_solutions": len(solutions) - len(parsed),
        "conditional_statements": _histogram(statements),
        "stages": _histogram([stage_count(e) for e in statements]),
    }


def check_problems(problems: Sequence[Problem]) -> dict[str, Any]:
    """Runs every canonical solution against its tests."""
    with ExecutorClient(ExecutorConfig(slots=len(os.sched_getaffinity(0)))) as client:
        found = verify(problems, client, ExecutorSettings())
    reasons = Counter(reason.partition(":")[0] for reason in found.dropped.values())
    return {
        "problems": len(problems),
        "kept": len(found.kept),
        "reasons": dict(reasons),
        "dropped": found.dropped,
    }


def _parses(source: str) -> bool:
    try:
        conditional_statements(source, ())
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True


def test_count(tests: Tests) -> int:
    """How many tests there are."""
    return len(tests.assertions if isinstance(tests, AssertionTests) else tests.inputs)


def style_of(tests: Tests) -> str:
    """How a program is tested: by assertions, stdin and stdout, or calls."""
    if isinstance(tests, AssertionTests):
        return "assertions"
    return "stdin/stdout" if tests.fn_name is None else "call-based"


def _histogram(values: Sequence[int]) -> dict[str, int]:
    return {str(value): count for value, count in sorted(Counter(values).items())}
