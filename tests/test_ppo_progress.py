"""What a resumed PPO phase begins from: its coefficient."""

import jax.numpy as jnp
import pytest

from stepcoder_jax.config import KLConfig
from stepcoder_jax.ppo_progress import beta_from_here


@pytest.mark.parametrize(
    ("kl", "first", "expected"),
    [
        (KLConfig(beta=0.25), 0.5, 0.25),
        (KLConfig(beta=0.5), 0.5, 0.5),
        (KLConfig(beta=0.5, controller="adaptive"), 0.5, 0.75),
        (KLConfig(beta=0.25, controller="adaptive"), 0.5, 0.25),
        # Saved before it was noted.
        (KLConfig(beta=0.5, controller="adaptive"), None, 0.75),
    ],
)
def test_a_coefficient_is_the_recipe_s_unless_the_controller_moved_it(
    kl: KLConfig, first: float | None, expected: float
) -> None:
    found = beta_from_here(kl, jnp.float32(0.75), first)
    assert found == expected
    assert found.dtype == jnp.float32
