"""The learner with adapters: what a step changes and what it leaves, and what the models cost."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
from test_learner import CONFIG, LEARNER, assert_same_step, rollouts, train_batch

from stepcoder_jax.config import LoRAConfig
from stepcoder_jax.learner import Learner, init_state, score, update, update_critic
from stepcoder_jax.model.config import ModelConfig
from stepcoder_jax.model.critic import Critic
from stepcoder_jax.model.decoder import Decoder
from stepcoder_jax.model.init import critic_from_policy, init_policy
from stepcoder_jax.model.lora import init_adapters, merge
from stepcoder_jax.sft import SFTBatch, SFTStep, init_sft_state, sft_update
from stepcoder_jax.types import TrainState

LORA = LoRAConfig(rank=2, alpha=3.0)
ADAPTED = replace(LEARNER, lora=LORA)
BASE = jax.tree.map(lambda x: x * 3, init_policy(jax.random.key(0), CONFIG))

DEEPSEEK_CODER_6_7B = ModelConfig(
    vocab_size=32_256,
    hidden_size=4096,
    num_layers=32,
    num_heads=32,
    num_kv_heads=32,
    head_dim=128,
    intermediate_size=11_008,
    max_position_embeddings=16_384,
    tie_word_embeddings=False,
)


def trained() -> tuple[dict, dict]:
    """Adapters and a head as if some steps had been taken: nothing in them is zero."""
    fresh = init_adapters(jax.random.key(1), CONFIG, LORA)
    policy = jax.tree.map(lambda x: x + 0.05, fresh)
    head = jax.random.normal(jax.random.key(5), (CONFIG.hidden_size, 1))
    return policy, {**critic_from_policy(policy, CONFIG), "head": {"kernel": head}}


def state_of(learner: Learner = ADAPTED) -> TrainState:
    return init_state(learner, *trained())


def stepped(learner: Learner) -> tuple[TrainState, dict[str, float]]:
    state, *stats = update(state_of(learner), train_batch(rollouts()), learner=learner, frozen=BASE)
    return state, {k: float(v) for s in stats for k, v in vars(s).items()}


def test_scores_are_those_of_three_merged_models() -> None:
    policy, critic = trained()
    reference = jax.tree.map(lambda x: x * 0.5, policy)
    rows = (rollouts().tokens, rollouts().is_response)
    found = score(policy, reference, critic, *rows, learner=ADAPTED, pieces=2, frozen=BASE)
    backbone = merge(BASE, critic["backbone"], LORA)
    expected = score(
        merge(BASE, policy, LORA),
        merge(BASE, reference, LORA),
        critic_from_policy(backbone, CONFIG) | {"head": critic["head"]},
        *rows,
        learner=LEARNER,
        pieces=2,
    )
    for name, value in vars(expected).items():
        np.testing.assert_allclose(getattr(found, name), value, atol=1e-4, err_msg=name)
    assert not np.allclose(found.old_logprobs, found.ref_logprobs, atol=1e-3)


def test_a_step_changes_every_adapter_and_the_head_and_leaves_the_base() -> None:
    before, base = state_of(), jax.tree.map(np.array, BASE)
    after, _ = stepped(ADAPTED)
    for model in ("policy", "critic"):
        pairs = [jax.tree.leaves(getattr(state, model)) for state in (before, after)]
        assert all(np.any(x != y) for x, y in zip(*pairs, strict=True))
    # Not donated, not written to.
    jax.tree.map(np.testing.assert_array_equal, BASE, base)
    warm, _ = update_critic(before, train_batch(rollouts()), learner=ADAPTED, frozen=BASE)
    jax.tree.map(np.testing.assert_array_equal, warm.policy, trained()[0])
    assert np.any(warm.critic["head"]["kernel"] != trained()[1]["head"]["kernel"])


def test_micro_batches_change_nothing_with_adapters_either() -> None:
    split = replace(ADAPTED, ppo=replace(ADAPTED.ppo, microbatches=4))
    assert_same_step(stepped(ADAPTED), stepped(split))


def test_fine_tuning_changes_adapters_alone_and_lowers_the_loss() -> None:
    step = SFTStep(
        policy=LEARNER.policy,
        optimizer=LEARNER.policy_optimizer,
        total_steps=10,
        logprob_chunk_tokens=16,
        lora=LORA,
    )
    data = rollouts()
    batch = SFTBatch(tokens=data.tokens, is_answer=data.is_response)
    state = init_sft_state(step, init_adapters(jax.random.key(1), CONFIG, LORA))
    base, losses = jax.tree.map(np.array, BASE), []
    for _ in range(4):
        state, loss = sft_update(state, batch, step=step, frozen=BASE)
        losses.append(float(loss))
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < losses[0] - 0.1
    jax.tree.map(np.testing.assert_array_equal, BASE, base)


def count(tree: object) -> int:
    return sum(x.size for x in jax.tree.leaves(tree))


def test_policy_reference_and_critic_of_6_7b_cost_one_copy_of_the_weights() -> None:
    config, lora = DEEPSEEK_CODER_6_7B, LoRAConfig(rank=16)
    learner = replace(
        ADAPTED, policy=Decoder(config=config), critic=Critic(config=config), lora=lora
    )
    base = jax.eval_shape(lambda: init_policy(jax.random.key(0), config))
    adapters = jax.eval_shape(lambda: init_adapters(jax.random.key(0), config, lora))

    def fresh() -> dict:
        policy = init_adapters(jax.random.key(0), config, lora)
        return vars(init_state(learner, policy, critic_from_policy(policy, config)))

    state = jax.eval_shape(fresh)
    d, m, layers = config.hidden_size, config.intermediate_size, config.num_layers
    assert count(adapters) == 16 * layers * (4 * (d + d) + 3 * (d + m)) == 39_976_960
    # The policy's and the critic's adapters, two moments of each, and the head the same way; two
    # counters of AdamW and of its schedule; the step and the KL coefficient.
    assert count(state) == 6 * count(adapters) + 3 * d + 2 + 2 * 2
    assert count(base) == 6_740_512_768
    everything = count(base) + count(state) + count(adapters)
    assert everything < 1.042 * count(base)
    batch = train_batch(rollouts())

    def step(state: dict, base: dict) -> dict:
        return vars(update(TrainState(**state), batch, learner=learner, frozen=base)[0])

    def shapes(tree: dict) -> list:
        return [(x.shape, x.dtype) for x in jax.tree.leaves(tree)]

    assert shapes(jax.eval_shape(step, state, base)) == shapes(state)
    assert {x.dtype for x in jax.tree.leaves(adapters)} == {jnp.dtype(jnp.float32)}
