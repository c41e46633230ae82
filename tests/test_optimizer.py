"""The optimizers against their textbook forms in NumPy."""

import jax.numpy as jnp
import numpy as np
import pytest

from stepcoder_jax.config import OptimizerConfig
from stepcoder_jax.optimizer import make_optimizer

GRADIENTS = np.random.default_rng(0).normal(size=(4, 3)) * [1e-3, 1.0, 30.0]
START = np.array([0.5, -1.0, 2.0])


def run(config, steps=4):
    optimizer = make_optimizer(config, steps)
    params = {"w": jnp.asarray(START, jnp.float32)}
    state = optimizer.init(params)
    for gradient in GRADIENTS[:steps]:
        updates, state = optimizer.update({"w": jnp.asarray(gradient, jnp.float32)}, state, params)
        params = {"w": params["w"] + updates["w"]}
    return np.asarray(params["w"])


def by_hand(config, steps=4):
    w, m, v = START.copy(), np.zeros(3), np.zeros(3)
    for t, g in enumerate(GRADIENTS[:steps]):
        g = g * min(1.0, config.max_grad_norm / np.linalg.norm(g))
        m = config.b1 * m + (1 - config.b1) * g
        v = config.b2 * v + (1 - config.b2) * g**2
        direction = m / (1 - config.b1 ** (t + 1))
        if config.name == "adamw":
            direction = direction / (np.sqrt(v / (1 - config.b2 ** (t + 1))) + config.eps)
        rate = config.learning_rate * (1 - t / steps if config.decay == "linear" else 1)
        w = w - rate * (direction + config.weight_decay * w)
    return w


@pytest.mark.parametrize("name", ["adamw", "momentum"])
@pytest.mark.parametrize("decay", ["none", "linear"])
@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_steps_are_those_of_the_textbook(name, decay, weight_decay):
    config = OptimizerConfig(
        name=name, learning_rate=0.01, decay=decay, weight_decay=weight_decay, max_grad_norm=5.0
    )
    np.testing.assert_allclose(run(config), by_hand(config), rtol=1e-5)


def test_warm_up_climbs_from_more_than_nothing():
    config = OptimizerConfig(name="momentum", learning_rate=1.0, warmup_steps=3, b1=0.0)
    first = START - run(config, steps=1)
    clipped = GRADIENTS[0] / max(1.0, np.linalg.norm(GRADIENTS[0]))
    np.testing.assert_allclose(first, clipped / 4, rtol=1e-4, atol=1e-6)
