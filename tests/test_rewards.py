import pytest
from stepcoder_executor import Verdict

from stepcoder_jax.config import RewardConfig
from stepcoder_jax.rewards import pass_fraction, score

# Other values than the defaults, so that a mix-up of fields shows.
REWARD = RewardConfig(passed=4.0, failed=3.0, runtime_error=2.0, compile_error=-5.0)


@pytest.mark.parametrize(
    ("verdict", "expected"),
    [
        (Verdict.PASSED, 4.0),
        (Verdict.FAILED, 3.0),
        (Verdict.RUNTIME_ERROR, 2.0),
        (Verdict.TIMEOUT, 2.0),
        (Verdict.MEMORY_EXCEEDED, 2.0),
        (Verdict.OUTPUT_EXCEEDED, 2.0),
        (Verdict.COMPILE_ERROR, -5.0),
        (Verdict.EXECUTOR_ERROR, None),
    ],
)
def test_each_verdict_has_its_score(verdict, expected):
    assert score(verdict, REWARD) == expected


def test_the_paper_s_scores_are_the_defaults():
    order = [Verdict.PASSED, Verdict.FAILED, Verdict.RUNTIME_ERROR, Verdict.COMPILE_ERROR]
    assert [score(verdict, RewardConfig()) for verdict in order] == [1.0, -0.3, -0.6, -1.0]


def test_clip_bounds_both_sides_and_leaves_the_rest():
    clipped = RewardConfig(passed=1.0, failed=-0.3, compile_error=-1.0, clip=0.8)
    verdicts = [Verdict.PASSED, Verdict.FAILED, Verdict.COMPILE_ERROR]
    assert [score(verdict, clipped) for verdict in verdicts] == [0.8, -0.3, -0.8]


def test_pass_fraction_is_among_judged_samples():
    group = [Verdict.PASSED, Verdict.TIMEOUT, Verdict.EXECUTOR_ERROR, Verdict.FAILED]
    assert pass_fraction(group) == 1 / 3


def test_pass_fraction_of_nothing_judged_is_unknown():
    assert pass_fraction([Verdict.EXECUTOR_ERROR] * 2) is None
    assert pass_fraction([]) is None
