"""Generalised advantage estimation over the response tokens of full rows."""

from dataclasses import dataclass
from typing import assert_never

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float

from stepcoder_jax.config import PPOConfig
from stepcoder_jax.masked import at_least_float32, masked_whiten


@jax.tree_util.register_dataclass
@dataclass(frozen=True, kw_only=True)
class Advantages:
    """What the policy and the critic are trained towards; both are 0 outside the response."""

    advantages: Float[Array, "B T"]
    returns: Float[Array, "B T"]


def gae(
    rewards: Float[Array, "B T"],
    values: Float[Array, "B T"],
    is_response: Bool[Array, "B T"],
    ppo: PPOConfig,
) -> Advantages:
    r"""Generalised advantage estimates and the returns they imply, before any whitening.

    .. math::
        \delta_t = r_t + \gamma V_{t+1} - V_t, \qquad
        A_t = \delta_t + \gamma \lambda A_{t+1}, \qquad
        R_t = A_t + V_t

    Past the last response token V and A are 0, also for a response cut by its length limit: its
    score is given at its last token like any other's.

    Args:
        rewards: reward for emitting token t.
        values: value of the state before token t is emitted.
        is_response: one contiguous run of True per row, anywhere in it. A coverage mask has holes
            and must never come here: it would bridge V_{t+1} over tokens that were emitted.
        ppo: `gamma`, `lam`.

    Source: Schulman et al., High-Dimensional Continuous Control Using Generalized Advantage
    Estimation (arXiv 1506.02438), equations 11 to 16.
    """
    inside_values = jnp.where(is_response, at_least_float32(values), 0.0)
    inside_rewards = jnp.where(is_response, at_least_float32(rewards), 0.0)
    next_values = jnp.pad(inside_values[:, 1:], ((0, 0), (0, 1)))
    deltas = jnp.where(is_response, inside_rewards + ppo.gamma * next_values - inside_values, 0.0)

    def step_back(
        later: Float[Array, " B"], at_t: tuple[Float[Array, " B"], Bool[Array, " B"]]
    ) -> tuple[Float[Array, " B"], Float[Array, " B"]]:
        delta, inside = at_t
        advantage = jnp.where(inside, delta + ppo.gamma * ppo.lam * later, 0.0)
        return advantage, advantage

    _, by_position = jax.lax.scan(
        step_back, jnp.zeros_like(deltas[:, 0]), (deltas.T, is_response.T), reverse=True
    )
    advantages = by_position.T
    return Advantages(advantages=advantages, returns=advantages + inside_values)


def whiten_advantages(
    advantages: Float[Array, "B T"], is_response: Bool[Array, "B T"], ppo: PPOConfig
) -> Float[Array, "B T"]:
    """Advantages with mean 0 and variance 1 over the response tokens of the rows given.

    Args:
        advantages: from `gae`, for the whole global batch: whitening parts of it separately gives
            other numbers.
        is_response: the tokens that count, executed or not.
        ppo: `whiten`, which variance: "unbiased", "population", or "none" to leave them alone.
    """
    match ppo.whiten:
        case "unbiased":
            return masked_whiten(advantages, is_response, lost_degrees=1)
        case "population":
            return masked_whiten(advantages, is_response, lost_degrees=0)
        case "none":
            return advantages
        case unknown:
            assert_never(unknown)
