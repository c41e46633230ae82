"""What is minimised on a micro-batch, as a function of what the models say of it."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from stepcoder_jax.learner.scoring import logprobs_of
from stepcoder_jax.learner.settings import Learner
from stepcoder_jax.learner.stats import PolicyPiece
from stepcoder_jax.losses import (
    ValueLoss,
    entropy_bonus,
    kl_loss,
    loss_denominator,
    policy_loss,
    response_ratios,
    value_loss,
)
from stepcoder_jax.types import Params, TrainBatch


@jax.tree_util.register_dataclass
@dataclass(frozen=True, kw_only=True)
class Denominators:
    """Counts over the whole mini-batch, so that what its micro-batches give adds up.

    Attributes:
      trained: tokens that the policy loss is a mean over.
      tokens: of all responses.
      responses: rows with a trained token.
    """

    trained: Float[Array, ""]
    tokens: Float[Array, ""]
    responses: Float[Array, ""]


def denominators(batch: TrainBatch, learner: Learner) -> Denominators:
    """Counts a mini-batch."""
    return Denominators(
        trained=loss_denominator(batch.is_trained, batch.is_response, learner.ppo),
        tokens=jnp.sum(batch.is_response, dtype=jnp.float32),
        responses=jnp.sum(jnp.any(batch.is_trained, axis=1), dtype=jnp.float32),
    )


def policy_objective(
    learner: Learner,
    policy: Params,
    hidden: Float[Array, "B T D"],
    piece: TrainBatch,
    counts: Denominators,
    beta: Float[Array, ""],
    frozen: Params | None,
) -> tuple[Float[Array, ""], PolicyPiece]:
    """The surrogate, with the KL penalty and the entropy bonus where they are asked for.

    Args:
      policy: reads log-probabilities out of
      hidden: its hidden states of the piece's tokens.
    """
    ppo, kl = learner.ppo, learner.kl
    explores = ppo.entropy_coef != 0.0
    new = logprobs_of(
        learner, policy, hidden, piece.tokens, piece.is_response, frozen, with_entropy=explores
    )
    moved = (new.logprobs, piece.old_logprobs, piece.advantages)
    surrogate = policy_loss(*moved, piece.weights, piece.is_trained, ppo, counts.trained)
    total = surrogate.loss
    if kl.where == "loss":
        total += kl_loss(
            new.logprobs,
            piece.ref_logprobs,
            piece.is_response,
            kl,
            beta,
            ppo.log_ratio_limit,
            counts.tokens,
        )
    if explores:
        total -= entropy_bonus(new.require_entropy(), piece.is_response, ppo, counts.tokens)
    responses = response_ratios(*moved, piece.is_trained, ppo, counts.responses)
    return total, PolicyPiece(total=total, tokens=surrogate, responses=responses)


def value_objective(
    learner: Learner, values: Float[Array, "B T"], piece: TrainBatch, counts: Denominators
) -> tuple[Float[Array, ""], ValueLoss]:
    """The value loss in its weight."""
    old, returns = piece.require_value_targets()
    error = value_loss(values, old, returns, piece.is_response, learner.ppo, counts.tokens)
    return learner.ppo.value_coef * error.loss, error
