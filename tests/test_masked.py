import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from stepcoder_jax.masked import at_least_float32, masked_mean, masked_sum, masked_whiten

X = jnp.array([[1.0, 3.0, 100.0], [-50.0, 5.0, 7.0]])
MASK = jnp.array([[True, True, False], [False, True, True]])


def test_sum_counts_true_positions_only():
    assert masked_sum(X, MASK) == 1.0 + 3.0 + 5.0 + 7.0


def test_mean_divides_by_the_denominator_it_is_given():
    assert masked_mean(X, MASK, 8.0) == (1.0 + 3.0 + 5.0 + 7.0) / 8.0


def test_micro_batch_means_over_one_denominator_add_up():
    count = jnp.sum(MASK)
    parts = [masked_mean(X[i : i + 1], MASK[i : i + 1], count) for i in range(2)]
    np.testing.assert_allclose(sum(parts), masked_mean(X, MASK, count), rtol=1e-6)


def test_fractional_denominators_are_taken_as_they_are():
    assert masked_mean(X, MASK, 0.5) == 2 * masked_sum(X, MASK)


def test_a_mean_over_nothing_is_zero_whatever_the_mask():
    assert masked_mean(X, MASK, 0.0) == 0.0


def test_empty_mask_gives_zero_everywhere():
    empty = jnp.zeros_like(MASK)
    assert masked_sum(X, empty) == 0.0
    assert masked_mean(X, empty, jnp.sum(empty)) == 0.0
    np.testing.assert_array_equal(masked_whiten(X, empty, lost_degrees=1), np.zeros(X.shape))


@pytest.mark.parametrize(("lost_degrees", "variance"), [(1, 20.0 / 3.0), (0, 20.0 / 4.0)])
def test_whiten_golden(lost_degrees, variance):
    # 1, 3, 5, 7: mean 4, squared deviations 9 + 1 + 1 + 9 = 20.
    expected = np.array([[-3.0, -1.0, 0.0], [0.0, 1.0, 3.0]]) / np.sqrt(variance)
    np.testing.assert_allclose(masked_whiten(X, MASK, lost_degrees), expected, rtol=1e-6)


@pytest.mark.parametrize("lost_degrees", [0, 1])
def test_whiten_with_nothing_masked_is_plain_standardisation(lost_degrees):
    x = np.random.default_rng(0).normal(3.0, 2.0, (4, 5))
    expected = (x - x.mean()) / x.std(ddof=lost_degrees)
    whitened = masked_whiten(jnp.float32(x), jnp.ones(x.shape, bool), lost_degrees)
    np.testing.assert_allclose(whitened, expected, rtol=1e-5, atol=1e-6)


def test_whiten_of_a_single_value_is_zero():
    one = jnp.array([[False, True, False]])
    np.testing.assert_array_equal(masked_whiten(X[:1], one, lost_degrees=1), np.zeros((1, 3)))


@pytest.mark.parametrize("junk", [np.inf, -np.inf, np.nan, 1e9])
@pytest.mark.parametrize(
    "function",
    [
        masked_sum,
        lambda x, mask: masked_mean(x, mask, jnp.sum(mask)),
        lambda x, mask: jnp.sum(masked_whiten(x, mask, lost_degrees=1) ** 3),
    ],
    ids=["sum", "mean", "whiten"],
)
def test_masked_positions_reach_neither_value_nor_gradient(function, junk):
    spoiled = jnp.where(MASK, X, junk)
    value, gradient = jax.value_and_grad(function)(X, MASK)
    spoiled_value, spoiled_gradient = jax.value_and_grad(function)(spoiled, MASK)
    assert value == spoiled_value
    np.testing.assert_array_equal(gradient, spoiled_gradient)
    np.testing.assert_array_equal(gradient[~MASK], 0.0)


def test_half_precision_is_widened_before_it_is_summed():
    ones = jnp.ones(1000, jnp.bfloat16)
    total = masked_sum(ones, jnp.ones(1000, bool))
    assert total.dtype == jnp.float32
    assert total == 1000.0


def test_wider_types_are_kept():
    with jax.enable_x64(True):
        assert at_least_float32(jnp.ones(2, jnp.float64)).dtype == jnp.float64


@pytest.mark.parametrize("lost_degrees", [0, 1])
def test_whiten_gradient(lost_degrees):
    with jax.enable_x64(True):
        x = jnp.asarray(np.random.default_rng(1).normal(size=(2, 3)))
        check_grads(jax.jit(lambda x: masked_whiten(x, MASK, lost_degrees)), (x,), order=1)
