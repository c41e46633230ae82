"""The PPO learner: scoring of rollouts, advantages, and one jitted step for policy and critic."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import Array
from jaxtyping import Float, Int, PRNGKeyArray

from stepcoder_jax.advantages import gae, whiten_advantages
from stepcoder_jax.config import (
    WHOLE_MODELS,
    KLConfig,
    LoRAConfig,
    OptimizerConfig,
    PPOConfig,
)
from stepcoder_jax.kl import token_kl, token_rewards
from stepcoder_jax.logprobs import TokenLogprobs, token_logprobs
from stepcoder_jax.losses import (
    entropy_bonus,
    explained_variance,
    kl_loss,
    loss_denominator,
    policy_loss,
    value_loss,
)
from stepcoder_jax.masked import masked_mean
from stepcoder_jax.model.apply import hidden_states, values_after
from stepcoder_jax.model.critic import Critic
from stepcoder_jax.model.decoder import Decoder, unembed
from stepcoder_jax.model.lora import critic_weights, policy_weights
from stepcoder_jax.optimizer import make_optimizer
from stepcoder_jax.types import Params, RolloutBatch, TrainBatch, TrainState


@dataclass(frozen=True, kw_only=True)
class Learner:
    """What a compiled step depends on besides shapes.

    With ``lora.rank`` > 0 the parameters of policy, reference and critic are adapters (and a head),
    and ``frozen``, which is never donated, is what all three are added to; else it is None.

    Attributes:
      temperature: of sampling; all log-probabilities are taken at it.
      logprob_chunk_tokens: positions whose logits exist at one time.
      total_steps: optimizer steps of the policy in the whole PPO phase, for schedules.
      critic_steps: optimizer steps of the critic for one of the policy.
    """

    policy: Decoder
    critic: Critic
    ppo: PPOConfig
    kl: KLConfig
    policy_optimizer: OptimizerConfig
    critic_optimizer: OptimizerConfig
    temperature: float
    logprob_chunk_tokens: int
    total_steps: int
    critic_steps: int = 1
    lora: LoRAConfig = WHOLE_MODELS

    @property
    def optimizers(self) -> tuple[optax.GradientTransformation, optax.GradientTransformation]:
        """The policy's and the critic's."""
        return (
            make_optimizer(self.policy_optimizer, self.total_steps),
            make_optimizer(self.critic_optimizer, self.total_steps * self.critic_steps),
        )


@jax.tree_util.register_dataclass
@dataclass(frozen=True, kw_only=True)
class Scores:
    """What the models say of finished rollouts before any update; float32, 0 at position 0."""

    old_logprobs: Float[Array, "*pieces B T"]
    entropy: Float[Array, "*pieces B T"]
    ref_logprobs: Float[Array, "*pieces B T"]
    old_values: Float[Array, "*pieces B T"]


@jax.tree_util.register_dataclass
@dataclass(frozen=True, kw_only=True)
class BatchStats:
    """Means over the response tokens of one iteration's global batch, float32.

    Attributes:
      kl: divergence of the sampling policy from the reference.
      logprob_gap: |sampler's − trainer's| log-probability of the same tokens.
      executed_fraction: share of response tokens that FGO leaves in the policy loss.
    """

    kl: Float[Array, ""]
    entropy: Float[Array, ""]
    logprob_gap: Float[Array, ""]
    executed_fraction: Float[Array, ""]
    explained_variance: Float[Array, ""]


@jax.tree_util.register_dataclass
@dataclass(frozen=True, kw_only=True)
class PolicyStats:
    """Of one optimizer step on the policy: means over the trained tokens, and two extremes."""

    policy_loss: Float[Array, ""]
    clip_fraction: Float[Array, ""]
    approx_kl: Float[Array, ""]
    ratio_mean: Float[Array, ""]
    ratio_max: Float[Array, ""]
    ratio_min: Float[Array, ""]
    policy_grad_norm: Float[Array, ""]


@jax.tree_util.register_dataclass
@dataclass(frozen=True, kw_only=True)
class CriticStats:
    """Of the critic's optimizer steps, or of one: means over response tokens, then over steps."""

    value_loss: Float[Array, "*steps"]
    value_clip_fraction: Float[Array, "*steps"]
    critic_grad_norm: Float[Array, "*steps"]


def init_state(learner: Learner, policy: Params, critic: Params) -> TrainState:
    """The state before the first step; owns the parameters given (a step donates them)."""
    policy_optimizer, critic_optimizer = learner.optimizers
    return TrainState(
        step=jnp.int32(0),
        policy=policy,
        critic=critic,
        policy_opt=policy_optimizer.init(policy),
        critic_opt=critic_optimizer.init(critic),
    )


def policy_logprobs(
    learner: Learner,
    params: Params,
    tokens: Int[Array, "B T"],
    *,
    with_entropy: bool,
    frozen: Params | None = None,
) -> TokenLogprobs:
    """Log-probability of each token of full rows, at the sampling temperature."""
    weights = policy_weights(params, frozen, learner.lora)
    hidden = hidden_states(learner.policy, weights.params, tokens, weights.adapters)
    head = partial(unembed, weights.params)
    return token_logprobs(
        hidden, head, tokens, learner.temperature, learner.logprob_chunk_tokens, with_entropy
    )


def state_values(
    learner: Learner, params: Params, tokens: Int[Array, "B T"], frozen: Params | None = None
) -> Float[Array, "B T"]:
    """The critic's value before each token: what it says having read the token before."""
    weights = critic_weights(params, frozen, learner.lora)
    after = values_after(learner.critic, weights.params, tokens, weights.adapters)
    return jnp.pad(after[:, :-1], ((0, 0), (1, 0)))


@partial(jax.jit, static_argnames=("learner", "pieces"))
def score(
    policy: Params,
    reference: Params,
    critic: Params,
    tokens: Int[Array, "B T"],
    *,
    learner: Learner,
    pieces: int,
    frozen: Params | None = None,
) -> Scores:
    """Runs the three models over finished rollouts, ``pieces`` row groups one after the other."""

    def score_piece(piece: Int[Array, "b T"]) -> Scores:
        old = policy_logprobs(learner, policy, piece, with_entropy=True, frozen=frozen)
        ref = policy_logprobs(learner, reference, piece, with_entropy=False, frozen=frozen)
        return Scores(
            old_logprobs=old.logprobs,
            entropy=old.require_entropy(),
            ref_logprobs=ref.logprobs,
            old_values=state_values(learner, critic, piece, frozen),
        )

    return _join(jax.lax.map(score_piece, _split(tokens, pieces)))


@partial(jax.jit, static_argnames=("learner",))
def make_train_batch(
    rollouts: RolloutBatch, scores: Scores, *, learner: Learner
) -> tuple[TrainBatch, BatchStats]:
    """Rewards, GAE and whitening over the global batch (METHOD.md §4 and §6).

    FGO has no part here: KL, GAE, whitening and returns are over the whole response.
    """
    ppo, kl = learner.ppo, learner.kl
    response = rollouts.is_response
    divergence = token_kl(
        scores.old_logprobs, scores.ref_logprobs, response, kl, ppo.log_ratio_limit
    )
    beta = kl.beta if kl.where == "reward" else 0.0
    rewards = token_rewards(rollouts.scores, divergence, response, beta)
    estimates = gae(rewards, scores.old_values, response, ppo)
    batch = TrainBatch(
        tokens=rollouts.tokens,
        is_response=response,
        is_trained=response & rollouts.is_executed,
        old_logprobs=scores.old_logprobs,
        ref_logprobs=scores.ref_logprobs,
        old_values=scores.old_values,
        advantages=whiten_advantages(estimates.advantages, response, ppo),
        returns=estimates.returns,
    )
    count = jnp.sum(response, dtype=jnp.float32)
    gap = jnp.abs(rollouts.sampler_logprobs - scores.old_logprobs)
    stats = BatchStats(
        kl=masked_mean(divergence, response, count),
        entropy=masked_mean(scores.entropy, response, count),
        logprob_gap=masked_mean(gap, response, count),
        executed_fraction=masked_mean(batch.is_trained.astype(jnp.float32), response, count),
        explained_variance=explained_variance(scores.old_values, estimates.returns, response),
    )
    return batch, stats


@partial(jax.jit, static_argnames=("learner",), donate_argnames=("state",))
def update(
    state: TrainState, batch: TrainBatch, *, learner: Learner, frozen: Params | None = None
) -> tuple[TrainState, PolicyStats, CriticStats]:
    """One optimizer step of the policy on a mini-batch, and the critic's on its shares of it."""
    policy, policy_opt, policy_stats = _policy_step(state, batch, learner, frozen)
    critic, critic_opt, critic_stats = _critic_step(state, batch, learner, frozen)
    state = TrainState(
        step=state.step + 1,
        policy=policy,
        critic=critic,
        policy_opt=policy_opt,
        critic_opt=critic_opt,
    )
    return state, policy_stats, critic_stats


@partial(jax.jit, static_argnames=("learner",), donate_argnames=("state",))
def update_critic(
    state: TrainState, batch: TrainBatch, *, learner: Learner, frozen: Params | None = None
) -> tuple[TrainState, CriticStats]:
    """The critic's steps alone: its warm-up."""
    critic, critic_opt, stats = _critic_step(state, batch, learner, frozen)
    return replace(state, step=state.step + 1, critic=critic, critic_opt=critic_opt), stats


@partial(jax.jit, static_argnames=("count",))
def minibatches(batch: TrainBatch, key: PRNGKeyArray, *, count: int) -> tuple[TrainBatch, ...]:
    """The rows in random order, dealt out to ``count`` batches of the same size."""
    order = jax.random.permutation(key, batch.tokens.shape[0]).reshape(count, -1)
    return tuple(jax.tree.map(lambda x, rows=rows: x[rows], batch) for rows in order)


def _policy_step(
    state: TrainState, batch: TrainBatch, learner: Learner, frozen: Params | None
) -> tuple[Params, Any, PolicyStats]:
    ppo, kl = learner.ppo, learner.kl
    trained = loss_denominator(batch.is_trained, batch.is_response, ppo)
    responses = jnp.sum(batch.is_response, dtype=jnp.float32)
    explores = ppo.entropy_coef != 0.0

    def loss(params: Params, piece: TrainBatch) -> tuple[Array, dict[str, Array]]:
        new = policy_logprobs(learner, params, piece.tokens, with_entropy=explores, frozen=frozen)
        surrogate = policy_loss(
            new.logprobs, piece.old_logprobs, piece.advantages, piece.is_trained, ppo, trained
        )
        total = surrogate.loss
        if kl.where == "loss":
            total += kl_loss(
                new.logprobs,
                piece.ref_logprobs,
                piece.is_response,
                kl,
                ppo.log_ratio_limit,
                responses,
            )
        if explores:
            total -= entropy_bonus(new.require_entropy(), piece.is_response, ppo, responses)
        return total, vars(surrogate)

    grads, stats = _accumulate(loss, state.policy, batch, ppo.microbatches)
    updates, opt = learner.optimizers[0].update(grads, state.policy_opt, state.policy)
    return (
        optax.apply_updates(state.policy, updates),
        opt,
        PolicyStats(
            policy_loss=jnp.sum(stats["loss"]),
            clip_fraction=jnp.sum(stats["clip_fraction"]),
            approx_kl=jnp.sum(stats["approx_kl"]),
            ratio_mean=jnp.sum(stats["ratio_mean"]),
            ratio_max=jnp.max(stats["ratio_max"]),
            ratio_min=jnp.min(stats["ratio_min"]),
            policy_grad_norm=optax.tree.norm(grads),
        ),
    )


def _critic_step(
    state: TrainState, batch: TrainBatch, learner: Learner, frozen: Params | None
) -> tuple[Params, Any, CriticStats]:
    """Takes ``critic_steps`` optimizer steps, each on its share of the mini-batch's rows."""

    def step(
        carry: tuple[Params, Any], share: TrainBatch
    ) -> tuple[tuple[Params, Any], CriticStats]:
        params, opt, stats = _critic_step_on(share, *carry, learner, frozen)
        return (params, opt), stats

    start = (state.critic, state.critic_opt)
    (critic, opt), stats = jax.lax.scan(step, start, _split(batch, learner.critic_steps))
    return critic, opt, jax.tree.map(jnp.mean, stats)


def _critic_step_on(
    batch: TrainBatch, critic: Params, critic_opt: Any, learner: Learner, frozen: Params | None
) -> tuple[Params, Any, CriticStats]:
    ppo = learner.ppo
    responses = jnp.sum(batch.is_response, dtype=jnp.float32)

    def loss(params: Params, piece: TrainBatch) -> tuple[Array, dict[str, Array]]:
        values = state_values(learner, params, piece.tokens, frozen)
        error = value_loss(
            values, piece.old_values, piece.returns, piece.is_response, ppo, responses
        )
        return ppo.value_coef * error.loss, vars(error)

    grads, stats = _accumulate(loss, critic, batch, ppo.microbatches // learner.critic_steps)
    updates, opt = learner.optimizers[1].update(grads, critic_opt, critic)
    return (
        optax.apply_updates(critic, updates),
        opt,
        CriticStats(
            value_loss=jnp.sum(stats["loss"]),
            value_clip_fraction=jnp.sum(stats["clip_fraction"]),
            critic_grad_norm=optax.tree.norm(grads),
        ),
    )


def _accumulate(
    loss: Callable[[Params, TrainBatch], tuple[Array, dict[str, Array]]],
    params: Params,
    batch: TrainBatch,
    pieces: int,
) -> tuple[Params, dict[str, Array]]:
    """Gradients summed over micro-batches, and each one's statistics stacked.

    The losses divide by counts over the whole mini-batch, so their sum is the mini-batch's loss.
    """
    gradient = jax.grad(loss, has_aux=True)
    if pieces == 1:
        grads, stats = gradient(params, batch)
        return grads, jax.tree.map(lambda x: x[None], stats)

    def add(total: Params, piece: TrainBatch) -> tuple[Params, dict[str, Array]]:
        grads, stats = gradient(params, piece)
        return jax.tree.map(jnp.add, total, grads), stats

    zeros = jax.tree.map(jnp.zeros_like, params)
    return jax.lax.scan(add, zeros, _split(batch, pieces))


def _split[Tree](tree: Tree, pieces: int) -> Tree:
    return jax.tree.map(lambda x: x.reshape(pieces, x.shape[0] // pieces, *x.shape[1:]), tree)


def _join[Tree](tree: Tree) -> Tree:
    return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), tree)
