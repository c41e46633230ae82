import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stepcoder_jax.importance import importance_weights

IS_RESPONSE = jnp.array([[False, True, True, True, False]])


def weights(ratios, cap=2.0):
    return importance_weights(jnp.log(jnp.array([ratios])), jnp.zeros((1, 5)), IS_RESPONSE, cap, 20)


def test_golden():
    found = weights([9.0, 0.25, 1.5, 8.0, 9.0])
    np.testing.assert_allclose(found, [[0.0, 0.25, 1.5, 2.0, 0.0]], rtol=1e-6)


def test_the_policy_that_sampled_weighs_1():
    np.testing.assert_array_equal(weights([1.0] * 5), IS_RESPONSE.astype(jnp.float32))


def test_a_ratio_beyond_float32_is_the_cap_or_almost_nothing():
    far = jnp.array([[0.0, 500.0, -500.0, 0.0, 0.0]])
    found = importance_weights(far, jnp.zeros((1, 5)), IS_RESPONSE, 3.0, 20.0)
    np.testing.assert_allclose(found, [[0.0, 3.0, np.exp(-20.0), 1.0, 0.0]], rtol=1e-6)


@pytest.mark.parametrize("junk", [1e9, np.inf, np.nan])
def test_outside_the_response_nothing_matters(junk):
    spoiled = jax.jit(weights)(jnp.array([junk, 0.25, 1.5, 8.0, junk]))
    np.testing.assert_array_equal(spoiled, weights([9.0, 0.25, 1.5, 8.0, 9.0]))
