"""Advantages of the response tokens of full rows: from values (GAE) or from groups of rows."""

from dataclasses import dataclass
from typing import assert_never

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float

from stepcoder_jax.config import PPOConfig
from stepcoder_jax.masked import at_least_float32, masked_whiten

# Added to a group's spread, so that one of nearly 0 does not blow its advantages up.
SPREAD_FLOOR = 1e-6


@jax.tree_util.register_dataclass
@dataclass(frozen=True, kw_only=True)
class Advantages:
    """What the policy and the critic, if any, are trained towards; 0 outside the response."""

    advantages: Float[Array, "B T"]
    returns: Float[Array, "B T"] | None


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


def grpo(
    scores: Float[Array, " B"], is_response: Bool[Array, "B T"], group_size: int
) -> Float[Array, "B T"]:
    r"""How far a row's score is above its group's mean, in units of the group's spread.

    .. math::
        A_{it} = \frac{s_i - \mathrm{mean}(s)}{\mathrm{std}(s) + 10^{-6}}

    The standard deviation is the unbiased one, as in the public implementations. 0 where a group
    has one judged row, or all its rows the same score.

    Args:
        scores: one per row; with the KL penalty in the reward already reduced by it.
        is_response: the tokens that get it. A row without any was not judged and is in no group.
        group_size: adjacent rows that answer one prompt; divides B.

    Source: Shao et al., DeepSeekMath (arXiv 2402.03300), section 4.1.2.
    """
    group = _Groups.of(scores, is_response, group_size)
    centred = jnp.where(group.is_judged, group.scores - group.mean[:, None], 0.0)
    degrees = jnp.maximum(group.count - 1.0, 1.0)
    spread = jnp.sqrt(jnp.sum(centred**2, axis=1) / degrees)[:, None]
    return _to_tokens(
        jnp.where(group.differs[:, None], centred / (spread + SPREAD_FLOOR), 0.0), is_response
    )


def rloo(
    scores: Float[Array, " B"], is_response: Bool[Array, "B T"], group_size: int
) -> Float[Array, "B T"]:
    """A row's score minus the mean of the other judged rows of its group; 0 where it has none.

    Args as for `grpo`.

    Source: Ahmadian et al., Back to Basics (arXiv 2402.14740), section 3.3.
    """
    group = _Groups.of(scores, is_response, group_size)
    # s - (S - s) / (n - 1) is n / (n - 1) times the distance from the mean of all.
    stretch = (group.count / jnp.maximum(group.count - 1.0, 1.0))[:, None]
    centred = group.scores - group.mean[:, None]
    return _to_tokens(jnp.where(group.differs[:, None], stretch * centred, 0.0), is_response)


@dataclass(frozen=True, kw_only=True)
class _Groups:
    """Scores by group and sample.

    Attributes:
        count: judged rows of each group, as a float.
        mean: of their scores.
        differs: whether any two of them differ: with rounding, equal scores have another mean.
    """

    scores: Float[Array, "groups samples"]
    is_judged: Bool[Array, "groups samples"]
    count: Float[Array, " groups"]
    mean: Float[Array, " groups"]
    differs: Bool[Array, " groups"]

    @classmethod
    def of(
        cls, scores: Float[Array, " B"], is_response: Bool[Array, "B T"], group_size: int
    ) -> "_Groups":
        if len(scores) % group_size:
            raise ValueError(f"{len(scores)} rows are not groups of {group_size} adjacent ones")
        is_judged = jnp.any(is_response, axis=1).reshape(-1, group_size)
        by_group = at_least_float32(scores).reshape(-1, group_size)
        judged = jnp.where(is_judged, by_group, 0.0)
        count = jnp.sum(is_judged, axis=1).astype(judged.dtype)
        highest = jnp.max(jnp.where(is_judged, by_group, -jnp.inf), axis=1)
        lowest = jnp.min(jnp.where(is_judged, by_group, jnp.inf), axis=1)
        return cls(
            scores=judged,
            is_judged=is_judged,
            count=count,
            mean=jnp.sum(judged, axis=1) / jnp.maximum(count, 1.0),
            differs=highest > lowest,
        )


def _to_tokens(
    by_group: Float[Array, "groups samples"], is_response: Bool[Array, "B T"]
) -> Float[Array, "B T"]:
    return jnp.where(is_response, by_group.reshape(-1)[:, None], 0.0)
