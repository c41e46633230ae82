"""The records that everything else passes around.

Letters for array shapes, the same in every file: B batch, P prompt, R response, T row (prompt and
response, right-padded), V vocabulary, D model, N heads, K kv-heads, H head dim, L layers.

Index conventions, the same in every file: ``logprobs[:, t]`` scores token t given the tokens
before it, ``values[:, t]`` is the value before token t, and a mask is named for what is True in it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import jax
from jaxtyping import Array, Bool, Float, Int

from stepcoder_jax.problem import DIFFICULTIES as DIFFICULTIES
from stepcoder_jax.problem import Difficulty as Difficulty
from stepcoder_jax.problem import Problem as Problem

Params = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """A problem made ready for the sampler.

    Attributes:
      tokens: ids of the requirement and, at stages above 0, of the prefix after it.
      prefix_tokens: how many of the last ids are the prefix, with which the program begins.
    """

    tokens: tuple[int, ...]
    prefix_tokens: int

    @property
    def prefix(self) -> tuple[int, ...]:
        """Ids of the curriculum's prefix; empty at stage 0."""
        return self.tokens[len(self.tokens) - self.prefix_tokens :]


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One response to one prompt, as the sampler left it (host side).

    Attributes:
      tokens: ids of the response, the end token included when the model produced it.
      logprobs: float32, one a token, at the sampling temperature, without nucleus truncation.
      stopped: why the response ended.
    """

    tokens: tuple[int, ...]
    logprobs: tuple[float, ...]
    stopped: Literal["end_token", "stop_string", "budget"]


@jax.tree_util.register_dataclass
@dataclass(frozen=True, kw_only=True)
class RolloutBatch:
    """Scored rollouts as static-shape arrays: what the learner starts from.

    Rows are right-padded: prompt, response, padding. A row that only fills the batch up has no True
    in ``is_response``.

    Attributes:
      tokens: int32 ids; padding is the tokenizer's pad id.
      is_response: tokens that the policy sampled, its end token included.
      is_executed: the FGO mask, a subset of ``is_response``.
      scores: float32 reward of the whole program, one a row.
      sampler_logprobs: float32, as the sampler computed them; 0 outside the response.
      weights: float32, what each response token counts in the policy loss; 1 unless the reward
        function says otherwise.
    """

    tokens: Int[Array, "B T"]
    is_response: Bool[Array, "B T"]
    is_executed: Bool[Array, "B T"]
    weights: Float[Array, "B T"]
    scores: Float[Array, " B"]
    sampler_logprobs: Float[Array, "B T"]


@jax.tree_util.register_dataclass
@dataclass(frozen=True, kw_only=True)
class TrainBatch:
    """What one optimizer step consumes; every field has one row a rollout, float32 or bool.

    Micro-batches stacked along a leading axis are a ``TrainBatch`` too.

    Attributes:
      is_response: where values are trained.
      is_trained: where the policy loss applies: response tokens that FGO left in.
      weights: what each of them counts in the policy loss, a constant; 0 elsewhere.
      old_logprobs: log-probabilities under the policy as the iteration found it.
      ref_logprobs: log-probabilities under the frozen reference.
      old_values: the critic's values before this iteration's updates; None without a critic.
      advantages: GAE's whitened over the global batch, or those of groups as they are.
      returns: GAE advantages before whitening, plus ``old_values``; None without a critic.
    """

    tokens: Int[Array, "*pieces B T"]
    is_response: Bool[Array, "*pieces B T"]
    is_trained: Bool[Array, "*pieces B T"]
    weights: Float[Array, "*pieces B T"]
    old_logprobs: Float[Array, "*pieces B T"]
    ref_logprobs: Float[Array, "*pieces B T"]
    old_values: Float[Array, "*pieces B T"] | None
    advantages: Float[Array, "*pieces B T"]
    returns: Float[Array, "*pieces B T"] | None

    def require_value_targets(
        self,
    ) -> tuple[Float[Array, "*pieces B T"], Float[Array, "*pieces B T"]]:
        """Return ``old_values`` and ``returns``; ValueError where there is no critic."""
        if self.old_values is None or self.returns is None:
            raise ValueError("this batch was made without a critic")
        return self.old_values, self.returns


@jax.tree_util.register_dataclass
@dataclass(frozen=True, kw_only=True)
class TrainState:
    """Everything that an iteration changes of the models, and nothing else.

    Attributes:
      step: int32 number of optimizer steps taken since the phase began.
      policy, critic: float32 parameters; with LoRA the adapters and the critic's head alone. A
        critic on the policy's backbone is its head; where there is none, it is empty.
      policy_opt, critic_opt: optax states.
      beta: float32 coefficient of the KL penalty; it moves between iterations, if at all.
    """

    step: Int[Array, ""]
    policy: Params
    critic: Params
    policy_opt: Any
    critic_opt: Any
    beta: Float[Array, ""]
