"""pass@k against enumeration, and its interval against the normal one."""

from itertools import combinations

import pytest
from stepcoder_executor import Verdict

from stepcoder_jax.pass_rates import bootstrap_interval, pass_at_k
from stepcoder_jax.scorecard import verdict_shares


@pytest.mark.parametrize(("n", "c"), [(1, 0), (1, 1), (5, 0), (5, 2), (6, 5), (7, 7)])
def test_pass_at_k_is_the_share_of_choices_with_a_success(n: int, c: int) -> None:
    outcomes = [True] * c + [False] * (n - c)
    for k in range(1, n + 1):
        chosen = list(combinations(outcomes, k))
        assert pass_at_k(n, c, k) == pytest.approx(sum(map(any, chosen)) / len(chosen), abs=1e-12)


@pytest.mark.parametrize(("n", "c", "k"), [(2, 0, 3), (2, 3, 1), (2, 1, 0), (2, -1, 1)])
def test_what_is_not_defined_is_refused(n: int, c: int, k: int) -> None:
    with pytest.raises(ValueError, match="not defined"):
        pass_at_k(n, c, k)


def test_shares_name_every_verdict_and_add_up() -> None:
    shares = verdict_shares([Verdict.PASSED, Verdict.PASSED, Verdict.FAILED, Verdict.TIMEOUT])
    assert set(shares) == {v.value for v in Verdict}
    assert shares["passed"] == 0.5
    assert sum(shares.values()) == 1.0


def test_an_interval_of_many_coin_throws_is_the_normal_one() -> None:
    values = [0.0] * 240 + [1.0] * 160
    low, high = bootstrap_interval(values)
    half = 1.96 * (0.4 * 0.6 / 400) ** 0.5
    assert (low, high) == pytest.approx((0.4 - half, 0.4 + half), abs=0.004)


def test_an_interval_is_a_function_of_seed_and_values_and_holds_all_of_few() -> None:
    values = [0.0, 1.0, 0.5, 0.2, 0.1]
    assert bootstrap_interval(values, seed=1) == bootstrap_interval(values, seed=1)
    assert bootstrap_interval([0.0, 1.0]) == (0.0, 1.0)
    assert bootstrap_interval([0.3] * 5) == pytest.approx((0.3, 0.3))
