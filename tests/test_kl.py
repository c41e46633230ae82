from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from stepcoder_jax import kl as module
from stepcoder_jax.config import KLConfig
from stepcoder_jax.kl import k1, k2, k3

KL = KLConfig()
LIMIT = 20.0
token_kl = jax.jit(module.token_kl, static_argnames=("kl", "log_ratio_limit"))
token_rewards = jax.jit(module.token_rewards, static_argnames="beta")
LOG2 = np.log(2.0)


def two_distributions():
    """Log-probabilities of two distributions over 7 words, and KL(first || second)."""
    rng = np.random.default_rng(0)
    policy, reference = (np.log(rng.dirichlet(np.ones(7))) for _ in range(2))
    return policy, reference, np.sum(np.exp(policy) * (policy - reference))


@pytest.mark.parametrize(
    ("estimate", "expected"),
    [(k1, LOG2), (k2, LOG2**2 / 2), (k3, 1 / 2 - 1 + LOG2)],
)
def test_golden_for_a_policy_twice_as_sure(estimate, expected):
    np.testing.assert_allclose(estimate(jnp.log(jnp.array([2.0]))), [expected], rtol=1e-6)


@pytest.mark.parametrize("estimate", [k1, k2, k3])
def test_equal_policies_are_at_distance_zero(estimate):
    np.testing.assert_array_equal(estimate(jnp.zeros(3)), np.zeros(3))


@pytest.mark.parametrize("estimate", [k1, k3])
def test_unbiased_estimators_have_the_divergence_as_their_mean(estimate):
    policy, reference, divergence = two_distributions()
    mean = np.sum(np.exp(policy) * np.asarray(estimate(jnp.float32(policy - reference))))
    np.testing.assert_allclose(mean, divergence, rtol=1e-5)


def test_the_mean_gradient_of_k2_is_that_of_the_divergence_and_of_k1_is_zero():
    policy, reference, _ = two_distributions()
    weights = jnp.float32(np.exp(policy))
    logits, reference = jnp.float32(policy), jnp.float32(reference)

    def divergence(logits):
        logprobs = jax.nn.log_softmax(logits)
        return jnp.sum(jnp.exp(logprobs) * (logprobs - reference))

    def mean_of(estimate):
        return lambda x: jnp.sum(weights * estimate(jax.nn.log_softmax(x) - reference))

    exact = jax.grad(divergence)(logits)
    np.testing.assert_allclose(jax.grad(mean_of(k2))(logits), exact, atol=1e-6)
    np.testing.assert_allclose(jax.grad(mean_of(k1))(logits), np.zeros(7), atol=1e-6)


@pytest.mark.parametrize("estimate", [k2, k3])
def test_k2_and_k3_are_never_negative(estimate):
    assert jnp.all(estimate(jnp.linspace(-20.0, 20.0, 2001)) >= 0.0)


def test_k3_keeps_its_precision_near_zero():
    # exp(-x) - 1 + x = x^2 / 2 - ...: with exp instead of expm1 it would be rounding noise.
    np.testing.assert_allclose(k3(jnp.array([1e-3])), [1e-6 / 2 - 1e-9 / 6], rtol=1e-3)


@pytest.mark.parametrize("estimator", ["k1", "k2", "k3"])
def test_token_kl_is_the_chosen_estimator_on_the_response(estimator):
    logprobs = jnp.array([[0.0, -1.0, -2.0, -3.0]])
    ref_logprobs = jnp.array([[-5.0, -1.5, -1.0, 0.0]])
    is_response = jnp.array([[False, True, True, False]])
    estimate = {"k1": k1, "k2": k2, "k3": k3}[estimator](jnp.array([0.5, -1.0]))
    result = token_kl(logprobs, ref_logprobs, is_response, replace(KL, estimator=estimator), LIMIT)
    np.testing.assert_allclose(result, [[0.0, *np.asarray(estimate), 0.0]], rtol=1e-6)


def test_token_kl_clamps_the_log_ratio():
    k3_only = replace(KL, estimator="k3")
    ones = jnp.ones((1, 1), bool)
    far = token_kl(jnp.array([[-200.0]]), jnp.zeros((1, 1)), ones, k3_only, LIMIT)
    np.testing.assert_allclose(far, [[np.exp(20.0) - 1 - 20.0]], rtol=1e-6)


@pytest.mark.parametrize("estimator", ["k1", "k2", "k3"])
@pytest.mark.parametrize("junk", [1e9, -np.inf, np.nan])
def test_outside_the_response_nothing_matters(estimator, junk):
    is_response = jnp.array([[False, True, True, False]])
    kl = replace(KL, estimator=estimator)

    def total(logprobs):
        return jnp.sum(token_kl(logprobs, jnp.full((1, 4), -1.0), is_response, kl, LIMIT))

    logprobs = jnp.array([[-0.5, -0.3, -2.0, -0.1]])
    spoiled = jnp.where(is_response, logprobs, junk)
    assert total(spoiled) == total(logprobs)
    np.testing.assert_array_equal(jax.grad(total)(spoiled), jax.grad(total)(logprobs))


@pytest.mark.parametrize("estimator", ["k1", "k2", "k3"])
def test_gradient(estimator):
    rng = np.random.default_rng(0)
    kl = replace(KL, estimator=estimator)
    with jax.enable_x64(True):
        logprobs, ref_logprobs = (jnp.asarray(-rng.exponential(size=(2, 5))) for _ in range(2))
        mask = jnp.asarray(rng.random((2, 5)) < 0.7)
        check = jax.jit(lambda x: token_kl(x, ref_logprobs, mask, kl, LIMIT))
        check_grads(check, (logprobs,), order=1)


def test_rewards_golden():
    scores = jnp.array([1.0, -0.3])
    kl = jnp.array([[7.0, 0.5, 0.25, 7.0], [7.0, 7.0, 1.0, 2.0]])
    is_response = jnp.array([[False, True, True, False], [False, False, True, True]])
    expected = [
        [0.0, -0.1 * 0.5, -0.1 * 0.25 + 1.0, 0.0],
        [0.0, 0.0, -0.1 * 1.0, -0.1 * 2.0 - 0.3],
    ]
    np.testing.assert_allclose(token_rewards(scores, kl, is_response, 0.1), expected, rtol=1e-6)


def test_without_a_penalty_a_row_of_rewards_adds_up_to_its_score():
    scores = jnp.array([1.0, -0.3, -0.6])
    is_response = jnp.arange(6)[None] < jnp.array([[1], [4], [6]])
    rewards = token_rewards(scores, jnp.ones((3, 6)), is_response, 0.0)
    assert rewards.dtype == jnp.float32
    np.testing.assert_array_equal(jnp.sum(rewards, axis=1), scores)
    np.testing.assert_array_equal(jnp.argmax(jnp.abs(rewards), axis=1), [0, 3, 5])


def test_a_row_without_response_gets_no_reward():
    rewards = token_rewards(jnp.array([1.0]), jnp.ones((1, 3)), jnp.zeros((1, 3), bool), 0.5)
    np.testing.assert_array_equal(rewards, np.zeros((1, 3)))


def test_rewards_ignore_padding_and_what_is_outside():
    scores = jnp.array([0.7])
    kl = jnp.array([[np.nan, 0.5, 0.25, np.inf]])
    is_response = jnp.array([[False, True, True, False]])
    rewards = token_rewards(scores, kl, is_response, 0.1)
    longer = token_rewards(
        scores,
        jnp.pad(kl, ((0, 0), (0, 5)), constant_values=1e9),
        jnp.pad(is_response, ((0, 0), (0, 5))),
        0.1,
    )
    assert jnp.all(jnp.isfinite(rewards))
    np.testing.assert_array_equal(longer, jnp.pad(rewards, ((0, 0), (0, 5))))


def test_rewards_gradient():
    with jax.enable_x64(True):
        mask = jnp.array([[False, True, True, False]])
        check_grads(
            jax.jit(lambda scores, kl: token_rewards(scores, kl, mask, 0.05)),
            (jnp.array([0.3]), jnp.array([[1.0, 2.0, 3.0, 4.0]])),
            order=1,
        )


def adapted(kl_nats, beta=0.1, **fields):
    kl = KLConfig(controller="adaptive", target=6.0, horizon=100, **fields)
    return module.next_beta(jnp.float32(beta), jnp.float32(kl_nats), jnp.float32(10.0), kl)


def test_the_controller_golden():
    # 10 of the horizon's 100 responses: a tenth of the relative error, which is at most 0.2.
    np.testing.assert_allclose(adapted(6.6), 0.1 * (1 + 0.1 * 10 / 100), rtol=1e-6)
    np.testing.assert_allclose(adapted(5.7), 0.1 * (1 - 0.05 * 10 / 100), rtol=1e-6)
    np.testing.assert_allclose(adapted(600.0), 0.1 * (1 + 0.2 * 10 / 100), rtol=1e-6)
    np.testing.assert_allclose(adapted(-3.0), 0.1 * (1 - 0.2 * 10 / 100), rtol=1e-6)
    np.testing.assert_allclose(adapted(6.0), 0.1, rtol=1e-6)


def test_the_controller_brings_the_divergence_to_its_target():
    # A policy whose divergence is inversely proportional to the coefficient: 0.3 / beta nats.
    beta = 0.5
    for _ in range(300):
        beta = float(adapted(0.3 / beta, beta))
    np.testing.assert_allclose(0.3 / beta, 6.0, rtol=1e-3)


def test_a_fixed_coefficient_never_moves():
    far = module.next_beta(jnp.float32(0.1), jnp.float32(99.0), jnp.float32(10.0), KLConfig())
    assert float(far) == float(jnp.float32(0.1))
