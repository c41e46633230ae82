"""The jitted optimizer steps of policy and critic, and what moves between iterations.

A model whose loss or gradient is not finite is left as it was: the state has been donated, so the
host could not go back to it. Policy and critic are looked at one by one, so that the gradient of
one need not wait in memory for the other's.
"""

from dataclasses import replace
from functools import partial
from typing import Any, assert_never

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float

from stepcoder_jax.kl import next_beta
from stepcoder_jax.learner.batch_stats import BatchStats
from stepcoder_jax.learner.objectives import (
    denominators,
    policy_objective,
    value_objective,
)
from stepcoder_jax.learner.pieces import accumulate, split
from stepcoder_jax.learner.scoring import policy_hidden, shared_values, state_values
from stepcoder_jax.learner.settings import CriticKind, Learner
from stepcoder_jax.learner.stats import (
    CriticStats,
    PolicyPiece,
    PolicyStats,
    critic_stats,
    over_steps,
    policy_stats,
)
from stepcoder_jax.losses import ValueLoss
from stepcoder_jax.model.config import ModelConfig
from stepcoder_jax.model.init import critic_from_policy, critic_head
from stepcoder_jax.model.layer_stack import layers_apart
from stepcoder_jax.types import Params, TrainBatch, TrainState

# Parameters, and their optimizer's state.
type _Trained = tuple[Params, Any]


def first_critic(kind: CriticKind, policy: Params, config: ModelConfig) -> Params:
    """What is trained of a critic, before any step: values of 0. Arrays of its own."""
    match kind:
        case "separate":
            return critic_from_policy(policy, config)
        case "shared":
            return critic_head(config)
        case "none":
            return {}
        case unknown:
            assert_never(unknown)


def init_state(learner: Learner, policy: Params, critic: Params) -> TrainState:
    """The state before the first step; owns the parameters given (a step donates them).

    Args:
      critic: with its backbone, its head alone, or empty, by ``learner.critic_kind``.
    """
    policy_optimizer, critic_optimizer = learner.optimizers
    return TrainState(
        step=jnp.int32(0),
        policy=policy,
        critic=critic,
        policy_opt=policy_optimizer.init(policy),
        critic_opt=critic_optimizer.init(critic) if critic else {},
        beta=jnp.float32(learner.kl.beta),
    )


@partial(jax.jit, static_argnames=("learner",), donate_argnames=("state",))
def update(
    state: TrainState, batch: TrainBatch, *, learner: Learner, frozen: Params | None = None
) -> tuple[TrainState, PolicyStats, CriticStats | None]:
    """One optimizer step of the policy on a mini-batch, and the critic's on its shares of it.

    Returns:
      The state, ``step`` counted only if everything was finite; the critic's part is None without
      one.
    """
    frozen = layers_apart(frozen, where=learner.policy.unroll)
    of_critic: CriticStats | None = None
    match learner.critic_kind:
        case "separate":
            moved, of_policy = _step_policy(state, batch, learner, frozen)
            # Or XLA begins with the critic while the policy's gradient still takes memory.
            moved = jax.lax.optimization_barrier(moved)
            moved, of_critic = _step_critic(moved, batch, learner, frozen)
        case "shared":
            moved, of_policy, of_critic = _step_both(state, batch, learner, frozen)
        case "none":
            moved, of_policy = _step_policy(state, batch, learner, frozen)
        case unknown:
            assert_never(unknown)
    is_finite = of_policy.policy_is_finite
    if of_critic is not None:
        is_finite &= of_critic.critic_is_finite
    return replace(moved, step=state.step + is_finite), of_policy, of_critic


@partial(jax.jit, static_argnames=("learner",), donate_argnames=("state",))
def update_critic(
    state: TrainState, batch: TrainBatch, *, learner: Learner, frozen: Params | None = None
) -> tuple[TrainState, CriticStats]:
    """The critic's steps alone: its warm-up. On the policy's backbone only its head moves.

    Raises:
      ValueError: there is no critic.
    """
    if learner.critic_kind == "none":
        raise ValueError(f"there is no critic with ppo.advantage = {learner.ppo.advantage}")
    frozen = layers_apart(frozen, where=learner.policy.unroll)
    moved, stats = _step_critic(state, batch, learner, frozen)
    return replace(moved, step=state.step + stats.critic_is_finite), stats


def adapt_beta(state: TrainState, stats: BatchStats, *, learner: Learner) -> TrainState:
    """The state with the KL coefficient of the iteration after the one that ``stats`` is of."""
    beta = _next_beta(state.beta, stats.response_kl, stats.responses, learner.kl)
    return replace(state, beta=beta)


_next_beta = jax.jit(next_beta, static_argnums=3)


def _step_policy(
    state: TrainState, batch: TrainBatch, learner: Learner, frozen: Params | None
) -> tuple[TrainState, PolicyStats]:
    counts = denominators(batch, learner)

    def loss(policy: Params, piece: TrainBatch) -> tuple[Float[Array, ""], PolicyPiece]:
        hidden = policy_hidden(learner, policy, piece.tokens, frozen)
        return policy_objective(learner, policy, hidden, piece, counts, state.beta, frozen)

    grads, pieces = accumulate(loss, state.policy, batch, learner.ppo.microbatches, learner.policy)
    stats = policy_stats(pieces, optax.tree.norm(grads))
    return _move_policy(state, grads, learner, stats.policy_is_finite), stats


def _step_critic(
    state: TrainState, batch: TrainBatch, learner: Learner, frozen: Params | None
) -> tuple[TrainState, CriticStats]:
    """Takes ``critic_steps`` optimizer steps, each on its share of the mini-batch's rows."""

    def step(critic: _Trained, share: TrainBatch) -> tuple[_Trained, CriticStats]:
        params, opt = critic
        moved = replace(state, critic=params, critic_opt=opt)
        moved, stats = _step_critic_on(share, moved, learner, frozen)
        return (moved.critic, moved.critic_opt), stats

    # The policy is no part of what is carried: it would be copied.
    start = (state.critic, state.critic_opt)
    (critic, opt), stats = jax.lax.scan(step, start, split(batch, learner.critic_steps))
    return replace(state, critic=critic, critic_opt=opt), over_steps(stats)


def _step_critic_on(
    batch: TrainBatch, state: TrainState, learner: Learner, frozen: Params | None
) -> tuple[TrainState, CriticStats]:
    counts = denominators(batch, learner)
    policy = layers_apart(state.policy, where=learner.policy.unroll)

    def loss(critic: Params, piece: TrainBatch) -> tuple[Float[Array, ""], ValueLoss]:
        if learner.critic_kind == "shared":
            hidden = policy_hidden(learner, policy, piece.tokens, frozen)
            values = shared_values(critic, hidden)
        else:
            values = state_values(learner, critic, piece.tokens, frozen)
        return value_objective(learner, values, piece, counts)

    pieces_each = learner.ppo.microbatches // learner.critic_steps
    grads, pieces = accumulate(loss, state.critic, batch, pieces_each, learner.critic)
    stats = critic_stats(pieces, optax.tree.norm(grads))
    return _move_critic(state, grads, learner, stats.critic_is_finite), stats


def _step_both(
    state: TrainState, batch: TrainBatch, learner: Learner, frozen: Params | None
) -> tuple[TrainState, PolicyStats, CriticStats]:
    """One forward pass for both losses; the backbone's gradient is that of their sum."""
    counts = denominators(batch, learner)

    def loss(
        models: tuple[Params, Params], piece: TrainBatch
    ) -> tuple[Float[Array, ""], tuple[PolicyPiece, ValueLoss]]:
        policy, critic = models
        hidden = policy_hidden(learner, policy, piece.tokens, frozen)
        gain, of_policy = policy_objective(
            learner, policy, hidden, piece, counts, state.beta, frozen
        )
        error, of_critic = value_objective(learner, shared_values(critic, hidden), piece, counts)
        return gain + error, (of_policy, of_critic)

    models = (state.policy, state.critic)
    (of_backbone, of_head), pieces = accumulate(
        loss, models, batch, learner.ppo.microbatches, learner.policy
    )
    of_policy = policy_stats(pieces[0], optax.tree.norm(of_backbone))
    of_critic = critic_stats(pieces[1], optax.tree.norm(of_head))
    # One loss: what is wrong with a part of it is wrong with the gradient of the backbone.
    is_finite = of_policy.policy_is_finite & of_critic.critic_is_finite
    moved = _move_policy(state, of_backbone, learner, is_finite)
    return _move_critic(moved, of_head, learner, is_finite), of_policy, of_critic


def _move_policy(
    state: TrainState, grads: Params, learner: Learner, is_finite: Bool[Array, ""]
) -> TrainState:
    before = (state.policy, state.policy_opt)
    policy, opt = _moved(learner.optimizers[0], grads, before, is_finite)
    return replace(state, policy=policy, policy_opt=opt)


def _move_critic(
    state: TrainState, grads: Params, learner: Learner, is_finite: Bool[Array, ""]
) -> TrainState:
    before = (state.critic, state.critic_opt)
    critic, opt = _moved(learner.optimizers[1], grads, before, is_finite)
    return replace(state, critic=critic, critic_opt=opt)


def _moved(
    optimizer: optax.GradientTransformation,
    grads: Params,
    before: _Trained,
    is_finite: Bool[Array, ""],
) -> _Trained:
    """One step, only if everything is finite."""
    params, opt = before
    updates, moved_opt = optimizer.update(grads, opt, params)
    moved = (optax.apply_updates(params, updates), moved_opt)
    return jax.tree.map(lambda new, old: jnp.where(is_finite, new, old), moved, before)
