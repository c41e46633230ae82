"""What the models say of finished rollouts: log-probabilities, entropy, values."""

from dataclasses import dataclass, replace
from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from stepcoder_jax.learner.pieces import join, split
from stepcoder_jax.learner.settings import Learner
from stepcoder_jax.logprobs import TokenLogprobs, window_logprobs
from stepcoder_jax.model.apply import head_values, hidden_states, values_after
from stepcoder_jax.model.decoder import unembed
from stepcoder_jax.model.layer_stack import layers_apart
from stepcoder_jax.model.lora import critic_weights, policy_weights
from stepcoder_jax.types import Params


@jax.tree_util.register_dataclass
@dataclass(frozen=True, kw_only=True)
class Scores:
    """What the models say before any update; float32, 0 at position 0. No values of no critic."""

    old_logprobs: Float[Array, "*pieces B T"]
    entropy: Float[Array, "*pieces B T"]
    ref_logprobs: Float[Array, "*pieces B T"]
    old_values: Float[Array, "*pieces B T"] | None

    def require_values(self) -> Float[Array, "*pieces B T"]:
        """Return the critic's values; ValueError where no critic was asked."""
        if self.old_values is None:
            raise ValueError("these rollouts were scored without a critic")
        return self.old_values


@partial(jax.jit, static_argnames=("learner", "pieces"))
def score(
    policy: Params,
    reference: Params,
    critic: Params,
    tokens: Int[Array, "B T"],
    is_response: Bool[Array, "B T"],
    *,
    learner: Learner,
    pieces: int,
    frozen: Params | None = None,
) -> Scores:
    """Runs the models over finished rollouts, ``pieces`` row groups one after the other."""
    models = (policy, reference, critic, frozen)
    policy, reference, critic, frozen = layers_apart(models, where=learner.policy.unroll)

    def score_piece(piece: tuple[Int[Array, "b T"], Bool[Array, "b T"]]) -> Scores:
        tokens, is_response = piece
        hidden = policy_hidden(learner, policy, tokens, frozen)
        row = (tokens, is_response, frozen)
        old = logprobs_of(learner, policy, hidden, *row, with_entropy=True)
        ref_hidden = policy_hidden(learner, reference, tokens, frozen)
        ref = logprobs_of(learner, reference, ref_hidden, *row, with_entropy=False)
        return Scores(
            old_logprobs=old.logprobs,
            entropy=old.require_entropy(),
            ref_logprobs=ref.logprobs,
            old_values=_old_values(learner, critic, hidden, tokens, frozen),
        )

    return join(jax.lax.map(score_piece, split((tokens, is_response), pieces)))


def policy_logprobs(
    learner: Learner,
    params: Params,
    tokens: Int[Array, "B T"],
    *,
    with_entropy: bool,
    frozen: Params | None = None,
) -> TokenLogprobs:
    """Log-probability of each token of full rows, at the sampling temperature."""
    hidden = policy_hidden(learner, params, tokens, frozen)
    whole = replace(learner, response_tokens=None)
    is_any = jnp.ones(tokens.shape, bool)
    return logprobs_of(whole, params, hidden, tokens, is_any, frozen, with_entropy=with_entropy)


def policy_hidden(
    learner: Learner, params: Params, tokens: Int[Array, "B T"], frozen: Params | None
) -> Float[Array, "B T D"]:
    """The policy's hidden states after the final norm."""
    weights = policy_weights(params, frozen, learner.lora)
    return hidden_states(learner.policy, weights.params, tokens, weights.adapters)


def logprobs_of(
    learner: Learner,
    params: Params,
    hidden: Float[Array, "B T D"],
    tokens: Int[Array, "B T"],
    is_response: Bool[Array, "B T"],
    frozen: Params | None,
    *,
    with_entropy: bool,
) -> TokenLogprobs:
    """As ``policy_logprobs``, from hidden states that are there already, of responses alone."""
    return window_logprobs(
        hidden,
        partial(unembed, policy_weights(params, frozen, learner.lora).params),
        tokens,
        jnp.argmax(is_response, axis=1),
        learner.response_tokens or tokens.shape[1],
        learner.temperature,
        learner.logprob_chunk_tokens,
        with_entropy,
    )


def state_values(
    learner: Learner, params: Params, tokens: Int[Array, "B T"], frozen: Params | None = None
) -> Float[Array, "B T"]:
    """The separate critic's value before each token: what it says having read the one before."""
    weights = critic_weights(params, frozen, learner.lora)
    return _before(values_after(learner.critic, weights.params, tokens, weights.adapters))


def shared_values(params: Params, hidden: Float[Array, "B T D"]) -> Float[Array, "B T"]:
    """The value before each token of a critic that is a head on the policy's hidden states."""
    return _before(head_values(params["head"], hidden))


def _old_values(
    learner: Learner,
    critic: Params,
    hidden: Float[Array, "B T D"],
    tokens: Int[Array, "B T"],
    frozen: Params | None,
) -> Float[Array, "B T"] | None:
    match learner.critic_kind:
        case "separate":
            return state_values(learner, critic, tokens, frozen)
        case "shared":
            return shared_values(critic, hidden)
        case "none":
            return None


def _before(after: Float[Array, "B T"]) -> Float[Array, "B T"]:
    return jnp.pad(after[:, :-1], ((0, 0), (1, 0)))
