"""Which problem training visits at a position."""

import grain
import numpy as np
import pytest

from stepcoder_jax.config import ConfigError
from stepcoder_jax.data.order import ProblemOrder, WeightedOrder, own_rows, problem_order

STATEMENTS = (0, 1, 3, 0, 5)


def test_uniform_is_the_reshuffled_passes_that_it_always_was() -> None:
    order = problem_order("uniform", STATEMENTS, seed=4)
    assert isinstance(order, ProblemOrder)
    passes = order.take(0, 15).reshape(3, 5)
    assert (np.sort(passes) == np.arange(5)).all()
    grains = grain.MapDataset.range(5).seed(4).shuffle().repeat()
    assert passes.ravel().tolist() == [grains[i] for i in range(15)]


def test_conditionals_draws_in_proportion_to_one_plus_the_statements() -> None:
    draws = problem_order("conditionals", STATEMENTS, seed=4).take(0, 6000)
    shares = np.bincount(draws, minlength=5) / 6000
    expected = np.array([1, 2, 4, 1, 6]) / 14
    # Five standard deviations of a share of 6000 draws.
    np.testing.assert_allclose(shares, expected, atol=5 * np.sqrt(0.25 / 6000))


@pytest.mark.parametrize("weighting", ["uniform", "conditionals"])
def test_a_positions_draw_does_not_depend_on_what_was_read_before(weighting: str) -> None:
    whole = problem_order(weighting, STATEMENTS, seed=1).take(0, 40)
    again = problem_order(weighting, STATEMENTS, seed=1)
    assert again.take(33, 7).tolist() == whole[33:].tolist()
    assert again.take(5, 10).tolist() == whole[5:15].tolist()
    other = problem_order(weighting, STATEMENTS, seed=2).take(0, 40)
    assert other.tolist() != whole.tolist()


def test_the_rarest_problem_can_be_drawn_and_none_beyond_the_last() -> None:
    draws = WeightedOrder([1, 1000], seed=0).take(0, 5000)
    assert set(draws.tolist()) == {0, 1}


@pytest.mark.parametrize("weights", [[], [1, 0], [2, -1]])
def test_weights_must_be_positive(weights: list[int]) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        WeightedOrder(weights, seed=0)


@pytest.mark.parametrize("weighting", ["uniform", "conditionals"])
@pytest.mark.parametrize("processes", [1, 2, 3, 6])
def test_the_rows_of_all_processes_are_the_batch_of_one(weighting: str, processes: int) -> None:
    """From the middle of a pass over five problems on, each with an order of its own."""
    shares = []
    for process in range(processes):
        order = problem_order(weighting, STATEMENTS, seed=4)
        own = own_rows(6, "sft.batch", process=process, processes=processes)
        shares.append([order.take(6 * step, 6)[own] for step in range(2, 5)])
    assert {len(rows) for share in shares for rows in share} == {6 // processes}
    whole = problem_order(weighting, STATEMENTS, seed=4).take(12, 18)
    assert np.concatenate(np.swapaxes(shares, 0, 1), axis=None).tolist() == whole.tolist()


def test_a_batch_that_the_processes_do_not_divide_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"sft\.batch = 6: must be a multiple of the 4 processes"):
        own_rows(6, "sft.batch", process=0, processes=4)
