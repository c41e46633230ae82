"""What a compiled step depends on besides shapes."""

from dataclasses import dataclass
from typing import Literal

import optax

from stepcoder_jax.config import (
    WHOLE_MODELS,
    KLConfig,
    LoRAConfig,
    OptimizerConfig,
    PPOConfig,
)
from stepcoder_jax.model.critic import Critic
from stepcoder_jax.model.decoder import Decoder
from stepcoder_jax.optimizer import make_optimizer

type CriticKind = Literal["separate", "shared", "none"]


@dataclass(frozen=True, kw_only=True)
class Learner:
    """The static part of the learner.

    With ``lora.rank`` > 0 the parameters of policy, reference and critic are adapters (and a head),
    and ``frozen``, which is never donated, is what all three are added to; else it is None.

    Attributes:
      critic: the module of a critic with a backbone of its own; no other kind looks at it.
      temperature: of sampling; all log-probabilities are taken at it.
      logprob_chunk_tokens: positions whose logits exist at one time.
      response_tokens: the most of any row; other tokens get no logits. None: all tokens of
        whole rows get them.
      total_steps: optimizer steps of the policy in the whole PPO phase, for schedules.
      critic_steps: optimizer steps of the critic for one of the policy.
      critic_backbone: of its own, or the policy's.
      group_size: adjacent rows that answer one prompt.
      importance_cap: where rollouts are an iteration old, the largest weight of a token that the
        policy has come to prefer since; None where the policy itself sampled them.
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
    response_tokens: int | None = None
    critic_steps: int = 1
    critic_backbone: Literal["separate", "shared"] = "separate"
    group_size: int = 1
    importance_cap: float | None = None
    lora: LoRAConfig = WHOLE_MODELS

    @property
    def critic_kind(self) -> CriticKind:
        """Where values come from; without GAE nothing asks for any."""
        return self.critic_backbone if self.ppo.advantage == "gae" else "none"

    @property
    def optimizers(self) -> tuple[optax.GradientTransformation, optax.GradientTransformation]:
        """The policy's and the critic's."""
        return (
            make_optimizer(self.policy_optimizer, self.total_steps),
            make_optimizer(self.critic_optimizer, self.total_steps * self.critic_steps),
        )
