"""What an iteration's batch looks like before any update: by token and by response."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from stepcoder_jax.losses import explained_variance
from stepcoder_jax.masked import masked_mean
from stepcoder_jax.types import TrainBatch


@jax.tree_util.register_dataclass
@dataclass(frozen=True, kw_only=True)
class BatchStats:
    """Of one iteration's global batch, float32; None where there is no such thing.

    Without ``response_`` they are means over the response tokens, with it means over the responses:
    rows without any response token are none.

    Attributes:
      beta: coefficient of the KL penalty in this iteration.
      responses: how many there are.
      kl: divergence of the policy from the reference.
      response_kl, response_entropy: nats a response.
      logprob_gap: |sampler's − trainer's| log-probability of the same tokens.
      executed_fraction: share of response tokens that FGO leaves in the policy loss.
      unexecuted_responses: share of responses of which FGO leaves nothing.
      explained_variance: of the returns by the critic's values before the updates.
      response_explained_variance: of each response's mean return by its mean value.
      importance_mean: of the weights of tokens that an older policy sampled.
      importance_capped: share of tokens whose weight is the largest allowed.
    """

    beta: Float[Array, ""]
    responses: Float[Array, ""]
    kl: Float[Array, ""]
    response_kl: Float[Array, ""]
    entropy: Float[Array, ""]
    response_entropy: Float[Array, ""]
    logprob_gap: Float[Array, ""]
    executed_fraction: Float[Array, ""]
    response_executed_fraction: Float[Array, ""]
    unexecuted_responses: Float[Array, ""]
    explained_variance: Float[Array, ""] | None
    response_explained_variance: Float[Array, ""] | None
    importance_mean: Float[Array, ""] | None
    importance_capped: Float[Array, ""] | None


def batch_stats(
    batch: TrainBatch,
    *,
    beta: Float[Array, ""],
    divergence: Float[Array, "B T"],
    entropy: Float[Array, "B T"],
    logprob_gap: Float[Array, "B T"],
    importance: Float[Array, "B T"] | None,
    importance_cap: float | None,
) -> BatchStats:
    """Describes a batch.

    Args:
      divergence, entropy, logprob_gap: at each token; only those of responses are read.
      importance: weights that are part of ``batch.weights``; None where there are none.
      importance_cap: the largest of them that is possible.
    """
    tokens = jnp.sum(batch.is_response, axis=1).astype(jnp.float32)
    trained = jnp.sum(batch.is_trained, axis=1).astype(jnp.float32)
    is_row, responses = tokens > 0, jnp.sum(tokens > 0).astype(jnp.float32)

    def by_token(x: Float[Array, "B T"]) -> Float[Array, ""]:
        return masked_mean(x, batch.is_response, jnp.sum(tokens))

    def by_response(row: Float[Array, " B"]) -> Float[Array, ""]:
        return masked_mean(row, is_row, responses)

    def total(x: Float[Array, "B T"]) -> Float[Array, " B"]:
        return jnp.sum(jnp.where(batch.is_response, x, 0.0), axis=1)

    def mean(x: Float[Array, "B T"]) -> Float[Array, "B 1"]:
        return (total(x) / jnp.maximum(tokens, 1.0))[:, None]

    explained, explained_by_row, capped = None, None, None
    if batch.old_values is not None and batch.returns is not None:
        old, returns = batch.old_values, batch.returns
        explained = explained_variance(old, returns, batch.is_response)
        explained_by_row = explained_variance(mean(old), mean(returns), is_row[:, None])
    if importance is not None and importance_cap is not None:
        capped = by_token((importance >= importance_cap).astype(jnp.float32))
    return BatchStats(
        beta=beta,
        responses=responses,
        kl=by_token(divergence),
        response_kl=by_response(total(divergence)),
        entropy=by_token(entropy),
        response_entropy=by_response(total(entropy)),
        logprob_gap=by_token(logprob_gap),
        executed_fraction=by_token(batch.is_trained.astype(jnp.float32)),
        response_executed_fraction=by_response(trained / jnp.maximum(tokens, 1.0)),
        unexecuted_responses=by_response((trained == 0).astype(jnp.float32)),
        explained_variance=explained,
        response_explained_variance=explained_by_row,
        importance_mean=None if importance is None else by_token(importance),
        importance_capped=capped,
    )
