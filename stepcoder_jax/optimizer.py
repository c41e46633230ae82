"""The optimizers, from optax: a global-norm clip, AdamW or momentum, warm-up and decay."""

from typing import assert_never

import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from stepcoder_jax.config import OptimizerConfig

# A square added to second moments must not vanish in float32.
SMALLEST_SQUARE = 1e-30


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
            return _adam(config)
        case "momentum":
            return optax.ema(config.b1, accumulator_dtype=_first_moment_dtype(config))
        case unknown:
            assert_never(unknown)


def _adam(config: OptimizerConfig) -> optax.GradientTransformation:
    """Adam, or Adafactor: the mean of gradients each scaled by factored second moments."""
    match config.second_moments:
        case "full":
            return optax.scale_by_adam(
                b1=config.b1,
                b2=config.b2,
                eps=config.eps,
                mu_dtype=_first_moment_dtype(config),
            )
        case "factored":
            return optax.chain(
                optax.scale_by_factored_rms(
                    decay_rate=config.b2,
                    decay_rate_fn=_unbiased_decay,
                    epsilon=max(config.eps**2, SMALLEST_SQUARE),
                ),
                optax.ema(config.b1, accumulator_dtype=_first_moment_dtype(config)),
            )
        case unknown:
            assert_never(unknown)


def _unbiased_decay(step: Int[Array, ""], b2: float) -> Float[Array, ""]:
    """The decay after ``step`` steps with which a running mean needs no correction for its start.

    Source: Shazeer and Stern (arXiv 1804.04235), section 7.1.
    """
    done = step.astype(jnp.float32)
    return b2 * (1.0 - b2**done) / (1.0 - b2 ** (done + 1.0))


def _first_moment_dtype(config: OptimizerConfig) -> str | None:
    """None: that of the parameters, which is float32."""
    return None if config.first_moment_dtype == "float32" else config.first_moment_dtype


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
