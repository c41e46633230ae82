"""The learner: invariances of the step, what each mask touches, and that it learns."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stepcoder_jax import learner as learner_module
from stepcoder_jax.config import KLConfig, OptimizerConfig, PPOConfig
from stepcoder_jax.learner import (
    Learner,
    init_state,
    make_train_batch,
    minibatches,
    policy_logprobs,
    score,
    update,
    update_critic,
)
from stepcoder_jax.model.apply import values_after
from stepcoder_jax.model.config import SHAPES
from stepcoder_jax.model.critic import Critic
from stepcoder_jax.model.decoder import Decoder
from stepcoder_jax.model.init import critic_from_policy, init_policy
from stepcoder_jax.types import RolloutBatch, TrainBatch, TrainState

CONFIG = SHAPES["tiny-test"]
ROWS, WIDTH = 8, 12
BETA = jnp.float32(0.05)
# AdamW turns the rounding of tiny gradients into whole steps: with an epsilon of 1 its step is, to
# first order, the gradient itself, and what is compared is what the name says.
OPTIMIZER = OptimizerConfig(learning_rate=0.1, eps=1.0, max_grad_norm=1e9)
LEARNER = Learner(
    policy=Decoder(config=CONFIG),
    critic=Critic(config=CONFIG),
    ppo=PPOConfig(),
    kl=KLConfig(),
    policy_optimizer=OPTIMIZER,
    critic_optimizer=OPTIMIZER,
    temperature=0.8,
    logprob_chunk_tokens=16,
    total_steps=10,
)


def params() -> tuple[dict, dict]:
    policy = jax.tree.map(lambda x: x * 3, init_policy(jax.random.key(0), CONFIG))
    critic = critic_from_policy(policy, CONFIG)
    head = jax.random.normal(jax.random.key(5), critic["head"]["kernel"].shape)
    return policy, {**critic, "head": {"kernel": head}}


def fresh_state(learner: Learner = LEARNER) -> TrainState:
    return init_state(learner, *params())


def rollouts(pad: int = 0, garbage: int = 0) -> RolloutBatch:
    """Made-up rows: prompts of 2 to 5, responses of 3 to 7 tokens, then padding."""
    rng = np.random.default_rng(1)
    width = WIDTH + pad
    tokens = rng.integers(2, 13, (ROWS, WIDTH)).astype(np.int32)
    starts, lengths = rng.integers(2, 6, ROWS)[:, None], rng.integers(3, 8, ROWS)[:, None]
    tokens = np.pad(tokens, ((0, 0), (0, pad)))
    place = np.arange(width)
    is_response = (place >= starts) & (place < starts + lengths)
    outside = place >= starts + lengths
    executed = is_response & (np.pad(rng.random((ROWS, WIDTH)), ((0, 0), (0, pad))) < 0.7)
    return RolloutBatch(
        tokens=jnp.asarray(np.where(outside, garbage, tokens).astype(np.int32)),
        is_response=jnp.asarray(is_response),
        is_executed=jnp.asarray(executed),
        weights=jnp.ones((ROWS, width), jnp.float32),
        scores=jnp.asarray(rng.choice([1.0, -0.3, -0.6, -1.0], ROWS).astype(np.float32)),
        sampler_logprobs=jnp.zeros((ROWS, width), jnp.float32),
    )


def train_batch(data: RolloutBatch, learner: Learner = LEARNER) -> TrainBatch:
    policy, critic = params()
    reference = jax.tree.map(lambda x: x * 0.9, policy)
    scores = score(
        policy, reference, critic, data.tokens, data.is_response, learner=learner, pieces=1
    )
    batch, _ = make_train_batch(data, scores, beta=BETA, learner=learner)
    # As if some steps had been taken since: ratios differ from 1 on both sides.
    noise = jax.random.normal(jax.random.key(2), (ROWS, WIDTH)) * 0.3
    noise = jnp.pad(noise, ((0, 0), (0, data.tokens.shape[1] - WIDTH)))
    return replace(batch, old_logprobs=batch.old_logprobs + noise)


def stepped(batch: TrainBatch, learner: Learner = LEARNER) -> tuple[TrainState, dict[str, float]]:
    state, policy_stats, critic_stats = update(fresh_state(learner), batch, learner=learner)
    stats = vars(policy_stats) | vars(critic_stats)
    return state, {name: float(value) for name, value in stats.items()}


def assert_same_step(a: tuple, b: tuple, rtol: float = 1e-5) -> None:
    for name, value in a[1].items():
        np.testing.assert_allclose(b[1][name], value, rtol=rtol, atol=1e-6, err_msg=name)
    for model in ("policy", "critic"):
        pairs = [jax.tree.leaves(getattr(state, model)) for state, _ in (a, b)]
        for x, y in zip(*pairs, strict=True):
            # A step moves these by a tenth of their size, so this sees a gradient's fifth digit.
            assert jnp.linalg.norm(x - y) <= rtol * jnp.linalg.norm(x)


@pytest.mark.parametrize("pieces", [2, 4, 8])
def test_micro_batches_change_nothing(pieces: int) -> None:
    split = replace(LEARNER, ppo=replace(LEARNER.ppo, microbatches=pieces))
    batch = train_batch(rollouts())
    assert_same_step(stepped(batch), stepped(batch, split))


def test_padding_and_what_is_written_in_it_change_nothing() -> None:
    expected = stepped(train_batch(rollouts()))
    assert_same_step(expected, stepped(train_batch(rollouts(pad=5))))
    assert_same_step(expected, stepped(train_batch(rollouts(pad=3, garbage=11))))


def test_row_order_changes_nothing() -> None:
    batch = train_batch(rollouts())
    mixed = jax.tree.map(lambda x: x[jnp.array([3, 1, 7, 0, 2, 6, 5, 4])], batch)
    assert_same_step(stepped(batch), stepped(mixed))


def test_masked_positions_may_hold_anything() -> None:
    batch = train_batch(rollouts())
    floats = ("weights", "old_logprobs", "ref_logprobs", "old_values", "advantages", "returns")
    wild = {n: jnp.where(batch.is_response, getattr(batch, n), 1e9) for n in floats}
    assert_same_step(stepped(batch), stepped(replace(batch, **wild)))


def test_a_row_without_a_response_takes_no_part() -> None:
    batch = train_batch(rollouts())
    empty = jax.tree.map(lambda x: jnp.zeros_like(x[:1]), batch)
    longer = jax.tree.map(lambda x, y: jnp.concatenate([x, y]), batch, empty)
    assert_same_step(stepped(batch), stepped(longer))


def test_fgo_masks_the_policy_loss_and_nothing_else() -> None:
    data = rollouts()
    everything = replace(data, is_executed=data.is_response)
    masked, unmasked = train_batch(data), train_batch(everything)
    for name in ("advantages", "returns", "old_values", "ref_logprobs"):
        np.testing.assert_array_equal(getattr(masked, name), getattr(unmasked, name))
    (a, a_stats), (b, b_stats) = stepped(masked), stepped(unmasked)
    assert a_stats["value_loss"] == b_stats["value_loss"]
    assert a_stats["policy_loss"] != b_stats["policy_loss"]
    for x, y in zip(jax.tree.leaves(a.critic), jax.tree.leaves(b.critic), strict=True):
        np.testing.assert_array_equal(x, y)


def test_a_fresh_iteration_has_ratio_1_no_kl_and_the_samplers_logprobs() -> None:
    policy, critic = params()
    data = rollouts()
    scores = score(policy, policy, critic, data.tokens, data.is_response, learner=LEARNER, pieces=2)
    whole = policy_logprobs(LEARNER, policy, data.tokens, with_entropy=False)
    np.testing.assert_allclose(scores.old_logprobs, whole.logprobs, atol=1e-6)
    data = replace(data, sampler_logprobs=scores.old_logprobs)
    batch, stats = make_train_batch(data, scores, beta=BETA, learner=LEARNER)
    assert float(stats.kl) == 0.0
    assert float(stats.logprob_gap) == 0.0
    np.testing.assert_allclose(
        float(stats.executed_fraction), data.is_executed.sum() / data.is_response.sum(), rtol=1e-6
    )
    _, found = stepped(batch)
    np.testing.assert_allclose([found["ratio_mean"], found["ratio_max"]], 1.0, atol=1e-5)
    assert found["clip_fraction"] == 0.0


def test_values_are_the_critics_before_each_token() -> None:
    policy, critic = params()
    data = rollouts()
    scores = score(policy, policy, critic, data.tokens, data.is_response, learner=LEARNER, pieces=1)
    after = values_after(LEARNER.critic, critic, data.tokens)
    np.testing.assert_allclose(scores.old_values[:, 1:], after[:, :-1], rtol=1e-5, atol=1e-5)
    changed = data.tokens.at[:, -1].set(12)
    again = score(policy, policy, critic, changed, data.is_response, learner=LEARNER, pieces=1)
    np.testing.assert_allclose(again.old_values, scores.old_values, rtol=1e-5, atol=1e-5)


def test_the_critics_warm_up_leaves_the_policy_alone() -> None:
    before, _ = params()
    state, _ = update_critic(fresh_state(), train_batch(rollouts()), learner=LEARNER)
    for x, y in zip(jax.tree.leaves(before), jax.tree.leaves(state.policy), strict=True):
        np.testing.assert_array_equal(x, y)
    assert int(state.step) == 1


def test_the_critic_may_take_several_steps_each_on_its_share_of_the_rows() -> None:
    batch = train_batch(rollouts())
    learner = replace(LEARNER, ppo=PPOConfig(microbatches=4))
    twice, stats = update_critic(fresh_state(), batch, learner=replace(learner, critic_steps=2))
    state = fresh_state(learner)
    losses = []
    for half in (slice(None, ROWS // 2), slice(ROWS // 2, None)):
        share = jax.tree.map(lambda x, rows=half: x[rows], batch)
        state, one = update_critic(state, share, learner=learner)
        losses.append(float(one.value_loss))
    for x, y in zip(jax.tree.leaves(twice.critic), jax.tree.leaves(state.critic), strict=True):
        assert jnp.linalg.norm(x - y) <= 1e-5 * jnp.linalg.norm(x)
    np.testing.assert_allclose(stats.value_loss, np.mean(losses), rtol=1e-5)
    once, _ = update_critic(fresh_state(), batch, learner=learner)
    assert not np.allclose(once.critic["head"]["kernel"], twice.critic["head"]["kernel"])


def test_minibatches_are_a_permutation_of_the_rows() -> None:
    batch = train_batch(rollouts())
    pieces = minibatches(batch, jax.random.key(3), count=4)
    rows = {tuple(row) for piece in pieces for row in np.asarray(piece.tokens).tolist()}
    assert [piece.tokens.shape for piece in pieces] == [(2, WIDTH)] * 4
    assert rows == {tuple(row) for row in np.asarray(batch.tokens).tolist()}


def test_updates_make_rewarded_tokens_more_likely() -> None:
    data = replace(rollouts(), scores=jnp.where(jnp.arange(ROWS) % 2 == 0, 1.0, -1.0))
    data = replace(data, is_executed=data.is_response)
    batch = train_batch(data, replace(LEARNER, kl=KLConfig(beta=0.0)))
    state, before = (
        fresh_state(),
        policy_logprobs(LEARNER, params()[0], data.tokens, with_entropy=False),
    )
    for _ in range(5):
        state, *_ = update(state, batch, learner=LEARNER)
    after = policy_logprobs(LEARNER, state.policy, data.tokens, with_entropy=False)
    gain = jnp.sum((after.logprobs - before.logprobs) * jnp.sign(batch.advantages))
    assert float(gain) > 0


def test_nothing_is_compiled_after_the_first_step_and_nothing_leaves_the_device() -> None:
    batch = train_batch(rollouts())
    state, *_ = update(fresh_state(), batch, learner=LEARNER)
    before = learner_module.update._cache_size()
    with jax.transfer_guard("disallow"):
        state, *_ = update(state, batch, learner=LEARNER)
        jax.block_until_ready(state)
    assert learner_module.update._cache_size() == before
