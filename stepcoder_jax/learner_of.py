"""The learner that a recipe asks for."""

from stepcoder_jax.config import RunConfig
from stepcoder_jax.learner import Learner
from stepcoder_jax.model.critic import Critic
from stepcoder_jax.model.decoder import Decoder


def learner_of(config: RunConfig, policy: Decoder, critic: Critic) -> Learner:
    """The learner of the PPO phase, of these two modules."""
    ppo = config.ppo
    return Learner(
        policy=policy,
        critic=critic,
        ppo=ppo,
        kl=config.kl,
        policy_optimizer=config.policy_optimizer,
        critic_optimizer=config.critic_optimizer,
        critic_steps=config.critic.steps,
        temperature=config.sampling.temperature,
        critic_backbone=config.critic.backbone,
        group_size=config.rollout.samples,
        response_tokens=config.sampling.max_new_tokens,
        importance_cap=ppo.importance_cap if config.rollout.staleness else None,
        logprob_chunk_tokens=config.model.logprob_chunk_tokens,
        total_steps=config.iterations * ppo.epochs * ppo.minibatches,
        lora=config.lora,
    )
