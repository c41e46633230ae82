import json
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from stepcoder_jax.config import KLConfig, PPOConfig
from stepcoder_jax.losses import (
    entropy_bonus,
    explained_variance,
    kl_loss,
    loss_denominator,
    policy_loss,
    response_ratios,
    value_loss,
)

PPO = PPOConfig()
KL = KLConfig(estimator="k3")
FIXTURE = json.loads((Path(__file__).parent / "fixtures" / "ppo_reference.json").read_text())


def random_rows(count: int, seed: int = 0, shape: tuple[int, int] = (4, 7)):
    """Some float64 arrays, and a mask with holes."""
    rng = np.random.default_rng(seed)
    return [rng.normal(size=shape) for _ in range(count)], rng.random(shape) < 0.6


@jax.jit
def surrogate(logprobs, old_logprobs, advantages, is_trained):
    ones = jnp.ones_like(advantages)
    return policy_loss(
        logprobs, old_logprobs, advantages, ones, is_trained, PPO, jnp.sum(is_trained)
    ).loss


@jax.jit
def squared_error(values, old_values, returns, is_response):
    return value_loss(values, old_values, returns, is_response, PPO, jnp.sum(is_response)).loss


@jax.jit
def divergence(logprobs, ref_logprobs, is_response):
    return kl_loss(
        logprobs, ref_logprobs, is_response, KL, jnp.float32(0.05), 20.0, jnp.sum(is_response)
    )


@jax.jit
def bonus(entropy, is_response):
    return entropy_bonus(entropy, is_response, replace(PPO, entropy_coef=0.3), jnp.sum(is_response))


@jax.jit
def weighted(logprobs, old_logprobs, advantages, weights, is_trained):
    arrays = (logprobs, old_logprobs, advantages, weights)
    return policy_loss(*arrays, is_trained, PPO, jnp.sum(is_trained)).loss


EVERY_LOSS = [
    pytest.param(weighted, 4, id="weighted policy"),
    pytest.param(surrogate, 3, id="policy"),
    pytest.param(squared_error, 3, id="value"),
    pytest.param(divergence, 2, id="kl"),
    pytest.param(bonus, 1, id="entropy"),
]


def test_policy_golden():
    # Ratios 2, 2, 1/2, 1/2, 1.1 with clip 0.2: the clip holds where it lowers the objective.
    logprobs = jnp.log(jnp.array([[2.0, 2.0, 0.5, 0.5, 1.1]]))
    advantages = jnp.array([[3.0, -3.0, 5.0, -5.0, 7.0]])
    ones = jnp.ones((1, 5))
    result = policy_loss(logprobs, jnp.zeros((1, 5)), advantages, ones, ones > 0, PPO, 5.0)
    terms = [-1.2 * 3.0, 2.0 * 3.0, -0.5 * 5.0, 0.8 * 5.0, -1.1 * 7.0]
    np.testing.assert_allclose(result.loss, sum(terms) / 5, rtol=1e-6)
    np.testing.assert_allclose(result.clip_fraction, 2 / 5, rtol=1e-6)
    np.testing.assert_allclose(result.ratio_mean, (2.0 + 2.0 + 0.5 + 0.5 + 1.1) / 5, rtol=1e-6)
    np.testing.assert_allclose([result.ratio_min, result.ratio_max], [0.5, 2.0], rtol=1e-6)
    # KL(old || new) of one sample from old: ratio - 1 - log ratio.
    ratios = np.array([2.0, 2.0, 0.5, 0.5, 1.1])
    np.testing.assert_allclose(result.approx_kl, np.mean(ratios - 1 - np.log(ratios)), rtol=1e-5)


def test_at_ratio_one_the_loss_is_minus_the_mean_advantage_and_so_is_its_gradient():
    (logprobs, advantages), mask = random_rows(2)
    logprobs, advantages, mask = jnp.float32(logprobs), jnp.float32(advantages), jnp.asarray(mask)
    loss, gradient = jax.value_and_grad(surrogate)(logprobs, logprobs, advantages, mask)
    np.testing.assert_allclose(loss, -np.mean(np.asarray(advantages)[mask]), rtol=1e-5)
    np.testing.assert_allclose(gradient, np.where(mask, -advantages / np.sum(mask), 0.0), atol=1e-7)


def test_only_trained_tokens_count_and_the_denominator_is_the_callers():
    (logprobs, old, advantages), mask = random_rows(3)
    args = [jnp.float32(x) for x in (logprobs, old, advantages)]
    loss = policy_loss(*args, jnp.ones((4, 7)), jnp.asarray(mask), PPO, 100.0).loss
    ratio = np.exp(logprobs - old)
    terms = np.maximum(-advantages * ratio, -advantages * np.clip(ratio, 0.8, 1.2))
    np.testing.assert_allclose(loss, terms[mask].sum() / 100.0, rtol=1e-5)


def test_clip_is_without_effect_where_it_would_raise_the_objective():
    # Advantage and movement of opposite sign: the whole gradient comes through.
    gradient = jax.grad(surrogate)(
        jnp.log(jnp.array([[2.0, 0.5]])),
        jnp.zeros((1, 2)),
        jnp.array([[-1.0, 1.0]]),
        jnp.ones((1, 2), bool),
    )
    np.testing.assert_allclose(gradient, [[2.0 / 2, -0.5 / 2]], rtol=1e-6)


def test_the_log_ratio_is_clamped():
    far = jnp.array([[200.0, -200.0]])
    ones = jnp.ones((1, 2))
    result = policy_loss(far, jnp.zeros((1, 2)), -ones, ones, ones > 0, PPO, 2.0)
    np.testing.assert_allclose(result.ratio_max, np.exp(20.0), rtol=1e-6)
    np.testing.assert_allclose(result.loss, (np.exp(20.0) + 0.8) / 2, rtol=1e-6)


def test_value_golden():
    # Moves of +1 and +0.1 with clip 0.2; errors with and without the clip.
    old = jnp.array([[1.0, 1.0, 1.0]])
    values = jnp.array([[2.0, 2.0, 1.1]])
    returns = jnp.array([[2.0, 0.0, 2.0]])
    result = value_loss(values, old, returns, jnp.ones((1, 3), bool), PPO, 3.0)
    errors = [(1.2 - 2.0) ** 2, (2.0 - 0.0) ** 2, (1.1 - 2.0) ** 2]
    np.testing.assert_allclose(result.loss, 0.5 * sum(errors) / 3, rtol=1e-6)
    np.testing.assert_allclose(result.clip_fraction, 1 / 3, rtol=1e-6)


def test_value_loss_within_the_clip_is_half_the_mean_squared_error():
    (old, returns), mask = random_rows(2)
    values = old + 0.1
    loss = squared_error(
        jnp.float32(values), jnp.float32(old), jnp.float32(returns), jnp.asarray(mask)
    )
    np.testing.assert_allclose(loss, 0.5 * np.mean((values - returns)[mask] ** 2), rtol=1e-5)


@pytest.mark.parametrize("column", ["verl", "openrlhf"])
def test_parity_with_other_frameworks(column):
    inputs = {name: jnp.float32(values) for name, values in FIXTURE["inputs"].items()}
    expected = FIXTURE["expected"]["A"][column]
    mask = inputs["mask_A"] > 0
    advantages, returns = jnp.float32(expected["adv"]), jnp.float32(expected["ret"])
    policy = surrogate(inputs["new_logprobs"], inputs["old_logprobs"], advantages, mask)
    value = squared_error(inputs["new_values"], inputs["old_values"], returns, mask)
    np.testing.assert_allclose(policy, expected["pg"], atol=1e-5)
    np.testing.assert_allclose(value, expected["vf"], atol=1e-5)


def test_kl_loss_golden():
    logprobs, ref_logprobs = jnp.log(jnp.array([[0.5, 0.9]])), jnp.log(jnp.array([[0.25, 0.1]]))
    mask = jnp.array([[True, False]])
    loss = kl_loss(logprobs, ref_logprobs, mask, KL, jnp.float32(0.1), 20.0, 1.0)
    np.testing.assert_allclose(loss, 0.1 * (0.5 - 1 + np.log(2.0)), rtol=1e-6)


def test_entropy_bonus_golden():
    entropy, mask = jnp.array([[1.0, 2.0, 4.0]]), jnp.array([[True, False, True]])
    result = entropy_bonus(entropy, mask, replace(PPO, entropy_coef=0.01), 2.0)
    np.testing.assert_allclose(result, 0.01 * (1.0 + 4.0) / 2, rtol=1e-6)


@pytest.mark.parametrize(("loss", "arrays"), EVERY_LOSS)
def test_gradient(loss, arrays):
    rows, mask = random_rows(arrays, seed=1)
    with jax.enable_x64(True):
        first, *constants = (jnp.asarray(x) for x in rows)
        check_grads(jax.jit(lambda x: loss(x, *constants, jnp.asarray(mask))), (first,), order=1)


@pytest.mark.parametrize(("loss", "arrays"), EVERY_LOSS)
@pytest.mark.parametrize("junk", [1e9, np.inf, np.nan])
def test_masked_positions_reach_neither_value_nor_gradient(loss, arrays, junk):
    rows, mask = random_rows(arrays)
    mask = jnp.asarray(mask)
    clean = [jnp.float32(x) for x in rows]
    spoiled = [jnp.where(mask, x, junk) for x in clean]
    value, gradient = jax.value_and_grad(loss)(*clean, mask)
    spoiled_value, spoiled_gradient = jax.value_and_grad(loss)(*spoiled, mask)
    assert value == spoiled_value
    np.testing.assert_array_equal(gradient, spoiled_gradient)


@pytest.mark.parametrize(("loss", "arrays"), EVERY_LOSS)
def test_padding_and_row_order_change_nothing(loss, arrays):
    rows, mask = random_rows(arrays)
    order = np.array([3, 1, 0, 2])
    value = loss(*(jnp.float32(x) for x in rows), jnp.asarray(mask))
    padded = [np.pad(x[order], ((0, 2), (0, 9)), constant_values=5.0) for x in rows]
    padded_mask = np.pad(mask[order], ((0, 2), (0, 9)))
    result = loss(*(jnp.float32(x) for x in padded), jnp.asarray(padded_mask))
    np.testing.assert_allclose(result, value, rtol=1e-6)


@pytest.mark.parametrize(("loss", "arrays"), EVERY_LOSS)
def test_an_empty_mask_gives_zero_and_no_gradient(loss, arrays):
    rows, mask = random_rows(arrays)
    value, gradient = jax.value_and_grad(loss)(
        *(jnp.float32(x) for x in rows), jnp.zeros(mask.shape, bool)
    )
    assert value == 0.0
    np.testing.assert_array_equal(gradient, np.zeros(mask.shape))


def test_micro_batches_add_up_to_the_batch():
    (logprobs, old, advantages), mask = random_rows(3)
    weights = np.random.default_rng(9).random(mask.shape)
    batch = [jnp.float32(x) for x in (logprobs, old, advantages, weights)] + [jnp.asarray(mask)]
    count = jnp.sum(batch[4], dtype=jnp.float32)

    @jax.jit
    def gradient(*arrays):
        def loss(logprobs):
            result = policy_loss(logprobs, *arrays[1:], PPO, count)
            return result.loss, result

        return jax.grad(loss, has_aux=True)(arrays[0])

    grads, whole = gradient(*batch)
    parts = [gradient(*(x[i : i + 2] for x in batch)) for i in (0, 2)]
    np.testing.assert_allclose(np.concatenate([g for g, _ in parts]), grads, rtol=1e-6)
    for name in ("loss", "clip_fraction", "approx_kl", "ratio_mean"):
        total = sum(getattr(part, name) for _, part in parts)
        np.testing.assert_allclose(total, getattr(whole, name), rtol=1e-5)
    assert max(part.ratio_max for _, part in parts) == whole.ratio_max


def test_denominators():
    trained = jnp.array([[True, False, False], [True, True, False]])
    response = jnp.array([[True, True, True], [True, True, False]])
    assert loss_denominator(trained, response, PPO) == 1 + 2
    by_response = replace(PPO, loss_denominator="response_tokens")
    assert loss_denominator(trained, response, by_response) == 3 + 2


def test_explained_variance():
    returns = jnp.array([[1.0, 2.0, 3.0, 99.0]])
    mask = jnp.array([[True, True, True, False]])
    assert explained_variance(returns, returns, mask) == 1.0
    assert explained_variance(returns + 5.0, returns, mask) == 1.0
    assert explained_variance(jnp.zeros((1, 4)), returns, mask) == 0.0
    # Residuals -2, 0, 2 against returns -1, 0, 1 around their mean: 1 - 8 / 2.
    np.testing.assert_allclose(explained_variance(-returns, returns, mask), 1 - 8 / 2, rtol=1e-6)
    assert explained_variance(returns, jnp.ones((1, 4)), mask) == 0.0


def test_weights_multiply_each_token_and_the_denominator_stays_a_count():
    (logprobs, old, advantages, weights), mask = random_rows(4)
    arrays = [jnp.float32(x) for x in (logprobs, old, advantages)]
    loss = weighted(*arrays, jnp.float32(weights), jnp.asarray(mask))
    ratio = np.exp(logprobs - old)
    terms = np.maximum(-advantages * ratio, -advantages * np.clip(ratio, 0.8, 1.2))
    np.testing.assert_allclose(loss, (weights * terms)[mask].sum() / mask.sum(), rtol=1e-5)


def test_weights_of_1_change_no_bit():
    rows, mask = random_rows(3)
    arrays, mask = [jnp.float32(x) for x in rows], jnp.asarray(mask)
    ones = jnp.ones(mask.shape)
    ratio = jnp.exp(jnp.where(mask, arrays[0] - arrays[1], 0.0))
    gain = jnp.where(mask, arrays[2], 0.0)
    terms = jnp.maximum(-gain * ratio, -gain * jnp.clip(ratio, 0.8, 1.2))
    loss = policy_loss(*arrays, ones, mask, PPO, 1.0).loss
    assert float(loss) == float(jnp.sum(terms))


def test_response_ratios_golden():
    # Two responses with ratios (2, 1/2, 2) and (4, 1), and one without a trained token.
    ratios = jnp.array([[2.0, 0.5, 2.0], [4.0, 1.0, 9.0], [9.0, 9.0, 9.0]])
    mask = jnp.array([[True, True, True], [True, True, False], [False, False, False]])
    advantages = jnp.array([[1.0, 1.0, -1.0], [1.0, 1.0, 1.0], [1.0, 1.0, 1.0]])
    found = response_ratios(jnp.log(ratios), jnp.zeros((3, 3)), advantages, mask, PPO, 2.0)
    means = [(2 * 0.5 * 2) ** (1 / 3), 4 ** (1 / 2)]
    np.testing.assert_allclose(found.ratio_mean, np.mean(means), rtol=1e-6)
    np.testing.assert_allclose(found.clip_fraction, np.mean([1 / 3, 1 / 2]), rtol=1e-6)
    k3 = [(r - 1 - np.log(r)) for r in (2.0, 0.5, 2.0, 4.0, 1.0)]
    np.testing.assert_allclose(found.approx_kl, np.mean([sum(k3[:3]), sum(k3[3:])]), rtol=1e-6)
