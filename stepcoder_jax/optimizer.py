"""The optimizers, from optax: a global-norm clip, AdamW or momentum, warm-up and decay."""

from typing import assert_never

import optax

from stepcoder_jax.config import OptimizerConfig


def make_optimizer(config: OptimizerConfig, total_steps: int) -> optax.GradientTransformation:
    """Builds the transformation; its state is a tree of arrays that belongs in the checkpoint.

    Args:
      total_steps: optimizer steps of the phase, where linear decay reaches 0.
    """
    return optax.chain(
        optax.clip_by_global_norm(config.max_grad_norm),
        _direction(config),
        optax.add_decayed_weights(config.weight_decay),
        optax.scale_by_learning_rate(learning_rate_schedule(config, total_steps)),
    )


def _direction(config: OptimizerConfig) -> optax.GradientTransformation:
    match config.name:
        case "adamw":
            return optax.scale_by_adam(b1=config.b1, b2=config.b2, eps=config.eps)
        case "momentum":
            return optax.ema(config.b1)
        case unknown:
            assert_never(unknown)


def learning_rate_schedule(config: OptimizerConfig, total_steps: int) -> optax.Schedule:
    """Linear warm-up to the peak, then constant or linear to 0 at ``total_steps``."""
    peak, warmup = config.learning_rate, config.warmup_steps
    rest = max(total_steps - warmup, 1)
    after = {
        "none": optax.constant_schedule(peak),
        "linear": optax.linear_schedule(peak, 0.0, rest),
    }[config.decay]
    # The first step already moves: a rate of 0 would waste a batch.
    climb = optax.linear_schedule(peak / (warmup + 1), peak, warmup)
    return optax.join_schedules([climb, after], [warmup]) if warmup else after
