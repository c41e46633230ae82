"""pass@k, against enumeration."""

from itertools import combinations

import pytest
from stepcoder_executor import Verdict

from stepcoder_jax.pass_rates import pass_at_k
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
