"""The learner where layers are compiled one by one: the same numbers, without copies of weights."""

import re
from dataclasses import replace
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_learner import LEARNER, rollouts, train_batch

from stepcoder_jax.config import LoRAConfig
from stepcoder_jax.learner import Learner, init_state, score, update, update_critic
from stepcoder_jax.model.config import SHAPES
from stepcoder_jax.model.critic import Critic
from stepcoder_jax.model.decoder import Decoder
from stepcoder_jax.model.init import critic_from_policy, init_policy
from stepcoder_jax.model.lora import init_adapters
from stepcoder_jax.types import TrainState

CONFIG = replace(SHAPES["tiny-test"], num_layers=3)
LORA = LoRAConfig(rank=2, alpha=3.0)
POLICY = jax.tree.map(lambda x: x * 3, init_policy(jax.random.key(0), CONFIG))
HEAD = {"kernel": jax.random.normal(jax.random.key(5), (CONFIG.hidden_size, 1))}
BATCH = train_batch(rollouts())


def learner(*, unroll: bool, backbone: Literal["separate", "shared"] = "separate") -> Learner:
    """Four micro-batches over three layers."""
    return replace(
        LEARNER,
        policy=Decoder(config=CONFIG, unroll=unroll),
        critic=Critic(config=CONFIG, unroll=unroll),
        ppo=replace(LEARNER.ppo, microbatches=4),
        critic_backbone=backbone,
    )


def state_of(learner: Learner, policy: Any = POLICY) -> TrainState:
    """Arrays of its own: a step donates them."""
    whole = {**critic_from_policy(policy, CONFIG), "head": HEAD}
    critic = whole if learner.critic_kind == "separate" else {"head": HEAD}
    return init_state(learner, *jax.tree.map(jnp.copy, (policy, critic)))


def assert_close(found: Any, expected: Any) -> None:
    """Equal but for rounding, each array as a whole."""
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for x, y in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        off = np.linalg.norm(np.subtract(x, y, dtype=np.float64))
        assert off <= 1e-5 * np.linalg.norm(np.asarray(y, np.float64)) + 1e-9


@pytest.mark.parametrize("backbone", ["separate", "shared"])
@pytest.mark.parametrize("step", [update, update_critic])
def test_a_step_is_the_same(backbone: Literal["separate", "shared"], step: Any) -> None:
    kinds = [learner(unroll=unroll, backbone=backbone) for unroll in (False, True)]
    looped, unrolled = (step(state_of(kind), BATCH, learner=kind) for kind in kinds)
    assert_close(unrolled, looped)
    before, after = state_of(kinds[0]), looped[0]
    assert jnp.any(after.critic["head"]["kernel"] != before.critic["head"]["kernel"])
    assert jnp.any(after.policy["embedding"] != before.policy["embedding"]) == (step is update)


def test_a_step_of_adapters_is_the_same() -> None:
    adapters = jax.tree.map(lambda x: x + 0.05, init_adapters(jax.random.key(1), CONFIG, LORA))
    kinds = [replace(learner(unroll=unroll), lora=LORA) for unroll in (False, True)]
    looped, unrolled = (
        update(state_of(kind, adapters), BATCH, learner=kind, frozen=POLICY) for kind in kinds
    )
    assert_close(unrolled, looped)


@pytest.mark.parametrize("pieces", [1, 4])
def test_scores_are_the_same(pieces: int) -> None:
    reference = jax.tree.map(lambda x: x * 0.9, POLICY)
    critic = {**critic_from_policy(POLICY, CONFIG), "head": HEAD}
    rows = (POLICY, reference, critic, rollouts().tokens, rollouts().is_response)
    kinds = [learner(unroll=unroll) for unroll in (False, True)]
    looped, unrolled = (score(*rows, learner=kind, pieces=pieces) for kind in kinds)
    assert_close(unrolled, looped)


def test_micro_batches_hold_neither_weights_nor_gradients_of_all_layers() -> None:
    """They would be copied at every micro-batch, a layer at a time, out and in."""
    # Those of gate and up.
    stack = f"f32[{CONFIG.num_layers},{CONFIG.hidden_size},{CONFIG.intermediate_size}]"

    def loops_hold_it(kind: Learner) -> bool:
        leaves, tree = jax.tree.flatten(state_of(kind))

        def step(*leaves: jax.Array) -> list[jax.Array]:
            return jax.tree.leaves(update(jax.tree.unflatten(tree, leaves), BATCH, learner=kind))

        program = jax.jit(step).lower(*leaves).compile().as_text()
        assert stack in program
        bodies = set(re.findall(r"body=%?([\w.-]+)", program))
        computations = {
            name: text
            for text in re.split(r"\n(?=\S)", program)
            if (name := text.removeprefix("ENTRY ").removeprefix("%").split(" ")[0]) in bodies
        }
        assert bodies
        assert computations.keys() == bodies
        return any(stack in text for text in computations.values())

    assert loops_hold_it(learner(unroll=False))
    assert not loops_hold_it(learner(unroll=True))
