"""The learner's variants: the invariances of each one's step, and what sets it apart."""

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_learner import BETA, CONFIG, LEARNER, ROWS, WIDTH, params, rollouts
from test_lora_learner import BASE, LORA, trained

from stepcoder_jax import learner as learner_module
from stepcoder_jax.config import KLConfig, OptimizerConfig, PPOConfig
from stepcoder_jax.learner import (
    Learner,
    adapt_beta,
    first_critic,
    init_state,
    make_train_batch,
    policy_logprobs,
    score,
    update,
    update_critic,
)
from stepcoder_jax.types import RolloutBatch, TrainBatch, TrainState

# Steps along the gradient itself, and so long that what was there before is not seen beside them.
STEP = 1e4
GRADIENT = OptimizerConfig(name="momentum", learning_rate=STEP, b1=0.0, max_grad_norm=1e9)
PLAIN = replace(LEARNER, policy_optimizer=GRADIENT, critic_optimizer=GRADIENT, group_size=4)
# Of the responses of ``rollouts``, which have at most as many tokens as that.
WINDOWED = replace(PLAIN, response_tokens=7)
IN_THE_LOSS = KLConfig(where="loss", estimator="k3", beta=0.1)
VARIANTS = {
    "separate": WINDOWED,
    "shared": replace(
        PLAIN, critic_backbone="shared", kl=IN_THE_LOSS, ppo=PPOConfig(entropy_coef=0.02)
    ),
    "shared_lora": replace(PLAIN, critic_backbone="shared", lora=LORA),
    "grpo": replace(
        WINDOWED,
        ppo=PPOConfig(advantage="grpo", loss_denominator="response_tokens"),
        importance_cap=1.3,
    ),
    "rloo": replace(PLAIN, ppo=PPOConfig(advantage="rloo"), kl=IN_THE_LOSS),
}
every_variant = pytest.mark.parametrize("name", VARIANTS)


def models(learner: Learner) -> tuple[dict, dict, dict | None]:
    """Policy, critic of the learner's kind and what adapters are added to; nothing is zero."""
    policy, critic = trained() if learner.lora.rank else params()
    kept = {"separate": ("backbone", "head"), "shared": ("head",), "none": ()}[learner.critic_kind]
    frozen = BASE if learner.lora.rank else None
    found = (policy, {part: critic[part] for part in kept}, frozen)
    return jax.tree.map(lambda x: x.astype(learner.policy.param_dtype), found)


def fresh(learner: Learner) -> TrainState:
    policy, critic, _ = models(learner)
    return init_state(learner, policy, critic)


def copies(state: Any) -> list[np.ndarray]:
    """Of everything in a state, or a part of one, that is about to be donated."""
    return [np.array(x) for x in jax.tree.leaves(state)]


def assert_is(state: Any, before: list[np.ndarray]) -> None:
    for x, y in zip(jax.tree.leaves(state), before, strict=True):
        np.testing.assert_array_equal(x, y)


def batch_of(data: RolloutBatch, learner: Learner) -> TrainBatch:
    """As if some steps had been taken since the rollouts were scored, and weights of all sizes."""
    policy, critic, frozen = models(learner)
    reference = jax.tree.map(lambda x: x * 0.9, policy)
    noise, weights, stale = (
        jnp.pad(x, ((0, 0), (0, data.tokens.shape[1] - WIDTH)))
        for x in np.random.default_rng(2).random((3, ROWS, WIDTH), np.float32)
    )
    found = score(
        policy,
        reference,
        critic,
        data.tokens,
        data.is_response,
        learner=learner,
        pieces=1,
        frozen=frozen,
    )
    data = replace(
        data,
        weights=0.5 + weights.astype(found.old_logprobs.dtype),
        sampler_logprobs=found.old_logprobs + stale - 0.5,
    )
    batch, _ = make_train_batch(data, found, beta=BETA, learner=learner)
    return replace(batch, old_logprobs=batch.old_logprobs + 0.6 * noise - 0.3)


def step(batch: TrainBatch, learner: Learner) -> tuple[TrainState, dict[str, float]]:
    state, *stats = update(fresh(learner), batch, learner=learner, frozen=models(learner)[2])
    return state, {k: float(v) for s in stats if s is not None for k, v in vars(s).items()}


def gradient(batch: TrainBatch, learner: Learner) -> tuple[jax.Array, dict[str, float]]:
    """Of policy and critic in one vector."""
    before, (after, stats) = fresh(learner), step(batch, learner)
    pairs = (jax.tree.leaves((s.policy, s.critic)) for s in (before, after))
    return jnp.concatenate([(x - y).ravel() / STEP for x, y in zip(*pairs, strict=True)]), stats


def assert_same_gradient(a: tuple, b: tuple, rtol: float = 1e-5) -> None:
    assert jnp.linalg.norm(a[0]) > 1e-3
    assert jnp.linalg.norm(a[0] - b[0]) <= rtol * jnp.linalg.norm(a[0])
    for name in set(a[1]) & {"policy_loss", "value_loss"}:
        np.testing.assert_allclose(b[1][name], a[1][name], rtol=rtol, atol=rtol / 10, err_msg=name)


def assert_invariant(learner: Learner, rtol: float = 1e-5) -> None:
    """Under padding and what is in it, groups in another order, masked junk, micro-batches."""
    batch = batch_of(rollouts(), learner)
    expected = gradient(batch, learner)
    for data in (rollouts(pad=5), rollouts(pad=5, garbage=11)):
        assert_same_gradient(expected, gradient(batch_of(data, learner), learner), rtol)
    order = jnp.array([7, 5, 4, 6, 1, 0, 3, 2])
    mixed = batch_of(jax.tree.map(lambda x: x[order], rollouts()), learner)
    # Noise and weights of a row follow its number: those of the batch as it was.
    kept = {n: getattr(batch, n)[order] for n in ("old_logprobs", "weights")}
    assert_same_gradient(expected, gradient(replace(mixed, **kept), learner), rtol)
    floats = ("weights", "old_logprobs", "ref_logprobs", "old_values", "advantages", "returns")
    known = {n: x for n in floats if (x := getattr(batch, n)) is not None}
    wild = {n: jnp.where(batch.is_response, x, 1e9) for n, x in known.items()}
    assert_same_gradient(expected, gradient(replace(batch, **wild), learner), rtol)
    split = replace(learner, ppo=replace(learner.ppo, microbatches=4))
    assert_same_gradient(expected, gradient(batch, split), rtol)


@pytest.mark.parametrize("name", ["shared", "grpo"])
def test_invariances(name: str) -> None:
    assert_invariant(VARIANTS[name])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["separate", "shared_lora", "rloo"])
def test_invariances_of_the_other_variants(name: str) -> None:
    assert_invariant(VARIANTS[name])


def test_logits_of_responses_alone_give_the_same_step() -> None:
    batch = batch_of(rollouts(), PLAIN)
    assert_same_gradient(gradient(batch, PLAIN), gradient(batch, WINDOWED))


@pytest.mark.slow
@every_variant
def test_invariances_in_float64(name: str) -> None:
    wide = {"dtype": jnp.float64, "param_dtype": jnp.float64}
    learner = VARIANTS[name]
    policy, critic = (replace(module, **wide) for module in (learner.policy, learner.critic))
    with jax.enable_x64(True):
        assert_invariant(replace(learner, policy=policy, critic=critic), rtol=1e-10)


@every_variant
def test_neither_compiled_anew_nor_off_the_device_nor_kept_if_not_finite(name: str) -> None:
    learner, frozen = VARIANTS[name], models(VARIANTS[name])[2]
    good = batch_of(rollouts(), learner)
    bad = replace(good, advantages=good.advantages.at[0].mul(jnp.nan))
    state, *_ = update(fresh(learner), good, learner=learner, frozen=frozen)
    before, of_policy_before = copies(state), copies((state.policy, state.policy_opt))
    compiled = learner_module.update._cache_size()
    with jax.transfer_guard("disallow"):
        state, of_policy, of_critic = update(state, bad, learner=learner, frozen=frozen)
        jax.block_until_ready(state)
    assert learner_module.update._cache_size() == compiled
    assert not bool(of_policy.policy_is_finite)
    assert of_critic is None or bool(of_critic.critic_is_finite)
    if learner.critic_kind == "separate":
        # The critic's own loss is finite: it has moved.
        assert_is((state.policy, state.policy_opt), of_policy_before)
        assert int(state.step) == 1
    else:
        assert_is(state, before)
    state, of_policy, _ = update(state, good, learner=learner, frozen=frozen)
    assert bool(of_policy.policy_is_finite)
    assert int(state.step) == 2


def test_a_critic_that_is_not_finite_stays_as_it_was() -> None:
    learner = VARIANTS["separate"]
    good = batch_of(rollouts(), learner)
    bad = replace(good, returns=good.returns.at[0].mul(jnp.inf))
    before, expected = copies(fresh(learner)), update(fresh(learner), good, learner=learner)[0]
    state, of_policy, of_critic = update(fresh(learner), bad, learner=learner)
    assert (bool(of_policy.policy_is_finite), bool(of_critic.critic_is_finite)) == (True, False)
    unmoved = fresh(learner)
    assert_is(replace(state, policy=unmoved.policy, policy_opt=unmoved.policy_opt), before)
    jax.tree.map(np.testing.assert_array_equal, state.policy, expected.policy)
    state, stats = update_critic(fresh(learner), bad, learner=learner)
    assert not bool(stats.critic_is_finite)
    assert_is(state, before)


@pytest.mark.parametrize("name", ["shared", "shared_lora"])
def test_a_shared_backbone_learns_from_both_losses_and_in_the_warm_up_only_the_head_does(
    name: str,
) -> None:
    learner = VARIANTS[name]
    batch, start = batch_of(rollouts(), learner), fresh(learner)
    warm, _ = update_critic(fresh(learner), batch, learner=learner, frozen=models(learner)[2])
    jax.tree.map(np.testing.assert_array_equal, warm.policy, start.policy)
    assert np.any(warm.critic["head"]["kernel"] != start.critic["head"]["kernel"])
    both, stats = step(batch, learner)
    # The head's own gradient is the same with and without the policy's.
    np.testing.assert_allclose(
        both.critic["head"]["kernel"], warm.critic["head"]["kernel"], rtol=1e-4
    )
    assert stats["critic_grad_norm"] > 0
    alone, _ = step(batch, replace(learner, ppo=replace(learner.ppo, value_coef=0.0)))
    np.testing.assert_array_equal(alone.critic["head"]["kernel"], start.critic["head"]["kernel"])
    pairs = zip(*map(jax.tree.leaves, (both.policy, alone.policy)), strict=True)
    assert any(np.any(x != y) for x, y in pairs)


def test_a_fresh_critic_is_made_for_its_kind_and_values_nothing() -> None:
    policy, _ = params()
    data = rollouts()
    for name in ("separate", "shared", "grpo"):
        learner = VARIANTS[name]
        critic = first_critic(learner.critic_kind, policy, CONFIG)
        found = score(
            policy, policy, critic, data.tokens, data.is_response, learner=learner, pieces=2
        )
        if name == "grpo":
            assert (critic, found.old_values) == ({}, None)
        else:
            np.testing.assert_array_equal(found.old_values, np.zeros(data.tokens.shape))
    assert set(first_critic("shared", policy, CONFIG)) == {"head"}


def test_without_a_critic_nothing_of_one_is_kept_or_said() -> None:
    learner = VARIANTS["rloo"]
    batch, stats = scored(rollouts(), learner)
    state, stats_of_step = step(batch, learner)
    assert (state.critic, state.critic_opt, batch.old_values, batch.returns) == ({}, {}, None, None)
    assert stats.explained_variance is stats.response_explained_variance is None
    assert not [name for name in stats_of_step if "value" in name or "critic" in name]
    with pytest.raises(ValueError, match="no critic"):
        update_critic(fresh(learner), batch, learner=learner)


def scored(data: RolloutBatch, learner: Learner) -> tuple:
    policy, critic, _ = models(learner)
    reference = jax.tree.map(lambda x: x * 0.9, policy)
    found = score(
        policy, reference, critic, data.tokens, data.is_response, learner=learner, pieces=1
    )
    return make_train_batch(data, found, beta=BETA, learner=learner)


def test_group_advantages_are_of_the_scores_less_the_penalty_of_the_whole_response() -> None:
    learner = replace(PLAIN, ppo=PPOConfig(advantage="rloo"))
    data = rollouts()
    batch, stats = scored(data, learner)
    divergence = np.where(data.is_response, batch.old_logprobs - batch.ref_logprobs, 0.0).sum(1)
    net = (np.asarray(data.scores) - 0.05 * divergence).reshape(2, 4)
    expected = (net - (net.sum(1, keepdims=True) - net) / 3).reshape(-1, 1) * data.is_response
    np.testing.assert_allclose(batch.advantages, expected, atol=1e-5)
    np.testing.assert_allclose(stats.response_kl, divergence.mean(), rtol=1e-4)
    assert float(stats.responses) == ROWS


def test_weights_are_the_reward_functions_times_those_of_staleness() -> None:
    data, learner = rollouts(), VARIANTS["grpo"]
    policy, critic, _ = models(learner)
    found = score(policy, policy, critic, data.tokens, data.is_response, learner=learner, pieces=1)
    ratios = np.random.default_rng(3).uniform(0.5, 2.0, data.tokens.shape).astype(np.float32)
    given = np.random.default_rng(4).uniform(0.0, 2.0, data.tokens.shape).astype(np.float32)
    data = replace(
        data, weights=jnp.asarray(given), sampler_logprobs=found.old_logprobs - np.log(ratios)
    )
    batch, stats = make_train_batch(data, found, beta=BETA, learner=learner)
    is_trained, inside = np.asarray(data.is_executed), np.asarray(data.is_response)
    expected = np.where(is_trained, given * np.minimum(ratios, 1.3), 0.0)
    np.testing.assert_allclose(batch.weights, expected, rtol=1e-4)
    np.testing.assert_allclose(
        stats.importance_mean, np.minimum(ratios, 1.3)[inside].mean(), rtol=1e-5
    )
    np.testing.assert_allclose(stats.importance_capped, (ratios > 1.3)[inside].mean(), rtol=1e-6)
    fresh_batch, fresh_stats = make_train_batch(
        data, found, beta=BETA, learner=replace(learner, importance_cap=None)
    )
    np.testing.assert_array_equal(fresh_batch.weights, np.where(is_trained, given, 0.0))
    assert fresh_stats.importance_mean is fresh_stats.importance_capped is None


def test_statistics_of_responses_count_each_once() -> None:
    data = rollouts()
    executed = data.is_executed.at[2].set(False)
    dropped = data.is_response.at[5].set(False)
    data = replace(data, is_executed=executed & dropped, is_response=dropped)
    batch, stats = scored(data, PLAIN)
    rows = [i for i in range(ROWS) if i != 5]
    shares = [data.is_executed[i].sum() / data.is_response[i].sum() for i in rows]
    np.testing.assert_allclose(stats.response_executed_fraction, np.mean(shares), rtol=1e-5)
    np.testing.assert_allclose(stats.unexecuted_responses, 1 / 7, rtol=1e-6)
    np.testing.assert_allclose(stats.response_entropy, stats.entropy * dropped.sum() / 7, rtol=1e-5)
    np.testing.assert_allclose(stats.response_kl, stats.kl * dropped.sum() / 7, rtol=1e-5)
    count = dropped.sum(1)[np.array(rows)]
    values, returns = (
        np.where(dropped, x, 0.0).sum(1)[rows] / count for x in (batch.old_values, batch.returns)
    )
    explained = 1 - np.var(returns - values) / np.var(returns)
    np.testing.assert_allclose(stats.response_explained_variance, explained, rtol=1e-3)


def test_the_coefficient_is_the_states_and_moves_only_when_it_is_told_to() -> None:
    adaptive = replace(PLAIN, kl=KLConfig(controller="adaptive", target=0.5, horizon=40))
    state = fresh(adaptive)
    _, stats = scored(rollouts(), adaptive)
    assert float(stats.beta) == float(state.beta) == float(jnp.float32(0.05))
    error = np.clip(float(stats.response_kl) / 0.5 - 1, -0.2, 0.2)
    moved = adapt_beta(state, stats, learner=adaptive)
    np.testing.assert_allclose(moved.beta, 0.05 * (1 + error * ROWS / 40), rtol=1e-6)
    assert float(adapt_beta(state, stats, learner=PLAIN).beta) == float(state.beta)


def test_the_loss_charges_the_states_coefficient() -> None:
    learner = VARIANTS["rloo"]
    batch = batch_of(rollouts(), learner)

    def gradient_at(beta: float) -> np.ndarray:
        state = replace(fresh(learner), beta=jnp.float32(beta))
        after, *_ = update(state, batch, learner=learner)
        pairs = zip(*map(jax.tree.leaves, (fresh(learner).policy, after.policy)), strict=True)
        return np.concatenate([np.ravel(x - y) / STEP for x, y in pairs])

    none, some, twice = (gradient_at(beta) for beta in (0.0, 0.2, 0.4))
    assert np.linalg.norm(some - none) > 0.01 * np.linalg.norm(none)
    np.testing.assert_allclose(twice - none, 2 * (some - none), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("advantage", ["grpo", "rloo"])
def test_groups_teach_what_was_better_than_its_peers(advantage: str) -> None:
    learner = replace(
        LEARNER, ppo=PPOConfig(advantage=advantage), kl=KLConfig(beta=0.0), group_size=4
    )
    data = rollouts()
    data = replace(data, is_executed=data.is_response)
    batch, _ = scored(data, learner)
    before = policy_logprobs(learner, params()[0], data.tokens, with_entropy=False)
    state = fresh(learner)
    for _ in range(4):
        state, *_ = update(state, batch, learner=learner)
    after = policy_logprobs(learner, state.policy, data.tokens, with_entropy=False)
    gain = (after.logprobs - before.logprobs) * batch.advantages
    assert float(jnp.sum(gain)) > 0
