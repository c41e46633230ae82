import json
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from stepcoder_jax import advantages
from stepcoder_jax.config import KLConfig, PPOConfig
from stepcoder_jax.kl import token_kl, token_rewards

PPO = PPOConfig()
gae = jax.jit(advantages.gae, static_argnums=3)
whiten_advantages = jax.jit(advantages.whiten_advantages, static_argnums=2)
FIXTURE = json.loads((Path(__file__).parent / "fixtures" / "ppo_reference.json").read_text())


def random_rows(seed: int = 0, rows: int = 4, length: int = 9):
    """Rewards, values and responses that begin and end anywhere, one of them empty."""
    rng = np.random.default_rng(seed)
    starts = rng.integers(0, length - 1, rows)
    ends = starts + rng.integers(1, length, rows)
    ends[-1] = starts[-1]
    position = np.arange(length)
    is_response = (position >= starts[:, None]) & (position < ends[:, None])
    return rng.normal(size=(rows, length)), rng.normal(size=(rows, length)), is_response


def gae_loop(rewards, values, is_response, gamma, lam):
    """The recursion as written, one response at a time, in float64."""
    result = np.zeros_like(rewards)
    for row in range(len(rewards)):
        later, next_value = 0.0, 0.0
        for t in np.flatnonzero(is_response[row])[::-1]:
            delta = rewards[row, t] + gamma * next_value - values[row, t]
            later = delta + gamma * lam * later
            result[row, t] = later
            next_value = values[row, t]
    return result


def to_jax(rewards, values, is_response):
    return jnp.float32(rewards), jnp.float32(values), jnp.asarray(is_response)


def test_golden_in_the_middle_of_a_row():
    ppo = replace(PPO, gamma=0.5, lam=0.5)
    rewards = jnp.array([[9.0, 1.0, 2.0, 4.0, 9.0]])
    values = jnp.array([[9.0, 10.0, 20.0, 40.0, 9.0]])
    is_response = jnp.array([[False, True, True, True, False]])
    last = 4.0 - 40.0
    middle = (2.0 + 0.5 * 40.0 - 20.0) + 0.25 * last
    first = (1.0 + 0.5 * 20.0 - 10.0) + 0.25 * middle
    result = gae(rewards, values, is_response, ppo)
    np.testing.assert_allclose(result.advantages, [[0.0, first, middle, last, 0.0]])
    np.testing.assert_allclose(result.returns, [[0.0, first + 10, middle + 20, last + 40, 0.0]])


def test_lambda_one_is_return_minus_value():
    rewards, values, is_response = random_rows()
    result = gae(*to_jax(rewards, values, is_response), replace(PPO, lam=1.0))
    to_go = np.cumsum((rewards * is_response)[:, ::-1], axis=1)[:, ::-1] * is_response
    np.testing.assert_allclose(result.returns, to_go, atol=1e-6)
    np.testing.assert_allclose(result.advantages, to_go - values * is_response, atol=1e-6)


def test_lambda_zero_is_the_temporal_difference():
    rewards, values, is_response = random_rows()
    result = gae(*to_jax(rewards, values, is_response), replace(PPO, lam=0.0))
    inside = values * is_response
    next_values = np.append(inside[:, 1:], np.zeros((len(inside), 1)), axis=1)
    np.testing.assert_allclose(
        result.advantages, (rewards + next_values - values) * is_response, atol=1e-6
    )


def test_gamma_zero_looks_at_the_present_reward_only():
    rewards, values, is_response = random_rows()
    result = gae(*to_jax(rewards, values, is_response), replace(PPO, gamma=0.0))
    np.testing.assert_allclose(result.returns, rewards * is_response, atol=1e-6)


@pytest.mark.parametrize(("gamma", "lam"), [(1.0, 0.95), (0.99, 0.9), (0.5, 1.0)])
def test_parity_with_a_float64_loop(gamma, lam):
    rows = random_rows(seed=3, rows=6, length=40)
    result = gae(*to_jax(*rows), replace(PPO, gamma=gamma, lam=lam))
    expected = gae_loop(*rows, gamma, lam)
    np.testing.assert_allclose(result.advantages, expected, atol=1e-5)
    np.testing.assert_allclose(result.returns, expected + rows[1] * rows[2], atol=1e-5)


@pytest.mark.parametrize(("column", "whiten"), [("verl", "unbiased"), ("openrlhf", "population")])
def test_parity_with_other_frameworks(column, whiten):
    inputs = {name: jnp.float32(values) for name, values in FIXTURE["inputs"].items()}
    expected = FIXTURE["expected"]["A"][column]
    is_response = inputs["mask_A"] > 0
    ppo, kl = replace(PPO, whiten=whiten), KLConfig()
    estimates = token_kl(
        inputs["old_logprobs"], inputs["ref_logprobs"], is_response, kl, ppo.log_ratio_limit
    )
    rewards = token_rewards(inputs["score"], estimates, is_response, kl.beta)
    result = gae(rewards, inputs["old_values"], is_response, ppo)
    whitened = whiten_advantages(result.advantages, is_response, ppo)
    inside = np.asarray(is_response)
    np.testing.assert_allclose(whitened[inside], np.array(expected["adv"])[inside], atol=1e-5)
    np.testing.assert_allclose(result.returns[inside], np.array(expected["ret"])[inside], atol=1e-5)


def test_padding_and_place_in_the_row_change_nothing():
    rewards, values, is_response = random_rows()
    result = gae(*to_jax(rewards, values, is_response), PPO)
    shifted = gae(
        *to_jax(*(np.pad(x, ((0, 0), (3, 5))) for x in (rewards, values, is_response))), PPO
    )
    np.testing.assert_array_equal(shifted.advantages[:, 3:-5], result.advantages)
    np.testing.assert_array_equal(shifted.returns[:, 3:-5], result.returns)


def test_rows_are_independent():
    rows = random_rows()
    order = np.array([2, 0, 3, 1])
    result = gae(*to_jax(*rows), PPO)
    permuted = gae(*to_jax(*(x[order] for x in rows)), PPO)
    np.testing.assert_array_equal(permuted.advantages, result.advantages[order])


@pytest.mark.parametrize("junk", [1e9, np.inf, np.nan])
def test_outside_the_response_nothing_matters(junk):
    rewards, values, is_response = random_rows()

    def total(rewards, values):
        result = gae(rewards, values, jnp.asarray(is_response), PPO)
        return jnp.sum(result.advantages**2 + result.returns)

    spoiled = [jnp.float32(np.where(is_response, x, junk)) for x in (rewards, values)]
    clean = [jnp.float32(x) for x in (rewards, values)]
    value, gradients = jax.value_and_grad(total, (0, 1))(*clean)
    spoiled_value, spoiled_gradients = jax.value_and_grad(total, (0, 1))(*spoiled)
    assert value == spoiled_value
    np.testing.assert_array_equal(jnp.stack(gradients), jnp.stack(spoiled_gradients))


def test_gradient():
    rewards, values, is_response = random_rows()
    with jax.enable_x64(True):
        mask = jnp.asarray(is_response)
        check_grads(
            jax.jit(lambda r, v: gae(r, v, mask, PPO).advantages),
            (jnp.asarray(rewards), jnp.asarray(values)),
            order=1,
        )


def test_float32_whatever_precision_the_critic_has():
    rewards, values, is_response = to_jax(*random_rows())
    result = gae(rewards, values.astype(jnp.bfloat16), is_response, PPO)
    assert result.advantages.dtype == result.returns.dtype == jnp.float32


def test_whitening_none_changes_nothing():
    _, values, is_response = to_jax(*random_rows())
    untouched = whiten_advantages(values, is_response, replace(PPO, whiten="none"))
    np.testing.assert_array_equal(untouched, values)


@pytest.mark.parametrize(("whiten", "lost_degrees"), [("unbiased", 1), ("population", 0)])
def test_whitening_is_over_the_whole_batch(whiten, lost_degrees):
    _, values, is_response = random_rows()
    whitened = whiten_advantages(
        jnp.float32(values), jnp.asarray(is_response), replace(PPO, whiten=whiten)
    )
    inside = values[is_response]
    expected = (inside - inside.mean()) / inside.std(ddof=lost_degrees)
    np.testing.assert_allclose(np.asarray(whitened)[is_response], expected, atol=1e-5)


GROUP_METHODS = [pytest.param(advantages.grpo, id="grpo"), pytest.param(advantages.rloo, id="rloo")]


def judged_rows(*lengths: int) -> jax.Array:
    """Responses from the second token on, of these lengths; 0 is a row that was dropped."""
    place = jnp.arange(6)[None]
    return (place >= 1) & (place < 1 + jnp.array(lengths)[:, None])


def test_grpo_golden():
    # Scores 1, 0, -1, 0 around 0: the unbiased variance is 2 / 3. Then 2 and 4 around 3, and a row
    # that was dropped, whose score is in no mean.
    scores = jnp.array([1.0, 0.0, -1.0, 0.0, 2.0, 99.0, 4.0, 99.0])
    is_response = judged_rows(2, 1, 3, 4, 1, 0, 2, 0)
    result = advantages.grpo(scores, is_response, 4)
    high, wide = 1 / (np.sqrt(2 / 3) + 1e-6), 1 / (np.sqrt(2) + 1e-6)
    expected = np.array([high, 0.0, -high, 0.0, -wide, 0.0, wide, 0.0])
    np.testing.assert_allclose(result, expected[:, None] * np.asarray(is_response), rtol=1e-6)


def test_rloo_golden():
    scores = jnp.array([1.0, 0.0, -1.0, 0.5, 2.0, 99.0, 4.0, 99.0])
    is_response = judged_rows(2, 1, 3, 4, 1, 0, 2, 0)
    result = advantages.rloo(scores, is_response, 4)
    first = [1 - (0 - 1 + 0.5) / 3, 0 - (1 - 1 + 0.5) / 3, -1 - (1 + 0 + 0.5) / 3, 0.5 - 0.0]
    expected = np.array([*first, 2.0 - 4.0, 0.0, 4.0 - 2.0, 0.0])
    np.testing.assert_allclose(
        result, expected[:, None] * np.asarray(is_response), rtol=1e-6, atol=1e-7
    )


@pytest.mark.parametrize("method", GROUP_METHODS)
def test_nothing_is_learned_from_one_judged_row_or_from_equal_scores(method):
    scores = jnp.array([0.7, -1.0, -1.0, -0.3, -0.3, -0.3])
    result = method(scores, judged_rows(2, 0, 0, 1, 2, 3), 3)
    np.testing.assert_array_equal(result, np.zeros((6, 6)))


@pytest.mark.parametrize("method", GROUP_METHODS)
def test_groups_do_not_see_each_other_nor_the_order_of_their_rows(method):
    scores = jnp.float32(np.random.default_rng(0).normal(size=6))
    is_response = judged_rows(1, 2, 3, 4, 0, 2)
    order = np.array([5, 3, 4, 1, 0, 2])
    result = method(scores, is_response, 3)
    permuted = method(scores[order], is_response[order], 3)
    np.testing.assert_allclose(permuted, result[order], atol=1e-6)


@pytest.mark.parametrize("method", GROUP_METHODS)
@pytest.mark.parametrize("junk", [1e9, np.inf, np.nan])
def test_the_score_of_a_dropped_row_is_never_read(method, junk):
    is_response = judged_rows(1, 2, 0, 4)
    clean, spoiled = (method(jnp.array([1.0, 0.5, x, 0.0]), is_response, 4) for x in (0.0, junk))
    np.testing.assert_array_equal(clean, spoiled)


@pytest.mark.parametrize("method", GROUP_METHODS)
def test_rows_that_are_no_whole_groups_are_refused(method):
    with pytest.raises(ValueError, match="4 rows are not groups of 3"):
        method(jnp.zeros(4), judged_rows(1, 1, 1, 1), 3)
