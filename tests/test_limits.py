"""Limits of a program by its problem, and what verification finds out for them."""

from dataclasses import replace

import pytest
from stepcoder_executor import ExecutorClient, IoTests, Limits

from stepcoder_jax.config import ConfigError, ExecutorSettings, RunConfig
from stepcoder_jax.limits import LimitRule
from stepcoder_jax.recipe import override
from stepcoder_jax.types import Problem
from stepcoder_jax.verify import verify

SETTINGS = ExecutorSettings(wall_s=9, cpu_s=0.5, cpu_factor=10, memory_mb=64, output_kb=8)
PROBLEM = Problem(
    id="right",
    question="",
    difficulty="introductory",
    starter_code="",
    canonical_solution="def f(x): return x",
    tests=IoTests(fn_name="f", inputs=((1,), (2,)), outputs=(1, 2)),
    source="test",
)


@pytest.mark.parametrize(
    ("reference_s", "cpu_s"), [({}, None), ({"right": 0.001}, 0.5), ({"right": 0.2}, 2.0)]
)
def test_cpu_time_is_ten_times_the_solutions_and_at_least_half_a_second(reference_s, cpu_s):
    rule = LimitRule(settings=SETTINGS, reference_s=reference_s)
    assert rule.of(PROBLEM) == Limits(wall_s=9, cpu_s=cpu_s, memory_mb=64, output_kb=8)


def test_verification_times_the_slowest_test_and_says_why_it_drops():
    slow = "import time\ndef f(x):\n    time.sleep(0.2 * (x == 2))\n    return x"
    problems = [
        PROBLEM,
        replace(PROBLEM, id="slow", canonical_solution=slow),
        replace(PROBLEM, id="wrong", canonical_solution="def f(x): return 1"),
        replace(PROBLEM, id="unknown", canonical_solution=None),
    ]
    with ExecutorClient() as client:
        found = verify(problems, client, SETTINGS)
    assert [p.id for p in found.kept] == ["right", "slow", "unknown"]
    assert set(found.dropped) == {"wrong"}
    assert found.dropped["wrong"].startswith("failed: ")
    assert set(found.reference_s) == {"right", "slow"}
    assert found.reference_s["slow"] >= 0.2
    assert found.reference_s["right"] < found.reference_s["slow"]


@pytest.mark.parametrize("name", ["wall_s", "cpu_s", "cpu_factor"])
def test_a_limit_of_nothing_is_refused_by_name(name):
    with pytest.raises(ConfigError, match=rf"executor\.{name} = 0"):
        override(RunConfig(), [f"--executor.{name}=0"])
