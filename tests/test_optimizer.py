"""The optimizers against their textbook forms in NumPy."""

import jax
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


def moments(config, shape):
    """Shapes and dtypes of everything the optimizer keeps of one matrix."""
    state = make_optimizer(config, 10).init({"w": jnp.zeros(shape, jnp.float32)})
    return sorted((x.shape, x.dtype.name) for x in jax.tree.leaves(state) if x.ndim)


def test_factored_second_moments_keep_a_row_and_a_column():
    full, factored = OptimizerConfig(), OptimizerConfig(second_moments="factored")
    assert moments(full, (2, 128, 256)) == [((2, 128, 256), "float32")] * 2
    kept = [((1,), "float32"), ((2, 128), "float32"), ((2, 128, 256), "float32")]
    assert moments(factored, (2, 128, 256)) == [*kept, ((2, 256), "float32")]


@pytest.mark.parametrize(
    "fields", [{"name": "momentum"}, {"name": "adamw"}, {"second_moments": "factored"}]
)
def test_first_moments_may_be_half_as_wide(fields):
    config = OptimizerConfig(first_moment_dtype="bfloat16", **fields)
    found = dict.fromkeys(moments(config, (128, 256)), 1)
    assert ((128, 256), "bfloat16") in found
    # The update itself stays float32: parameters are.
    optimizer = make_optimizer(config, 10)
    params = {"w": jnp.ones((128, 256))}
    updates, state = optimizer.update(params, optimizer.init(params), params)
    assert updates["w"].dtype == jnp.float32
    assert moments(config, (128, 256)) == sorted(
        (x.shape, x.dtype.name) for x in jax.tree.leaves(state) if x.ndim
    )


def test_of_a_gradient_of_rank_one_factored_moments_are_exact():
    # Squares of u v' are a rank-one matrix, which a row and a column hold in full: the direction
    # is that of running means of u v' / sqrt(mean of squares), all with b2's unbiased weights.
    rng = np.random.default_rng(0)
    u, v = rng.uniform(0.5, 2.0, 128), rng.uniform(0.5, 2.0, 130)
    sizes = [1.0, 3.0, 0.5]
    config = OptimizerConfig(
        learning_rate=1.0, second_moments="factored", b1=0.5, b2=0.9, max_grad_norm=1e9
    )
    optimizer = make_optimizer(config, 10)
    params = {"w": jnp.zeros((128, 130))}
    state = optimizer.init(params)
    first, second = 0.0, 0.0
    for t, size in enumerate(sizes, start=1):
        gradient = size * np.outer(u, v)
        updates, state = optimizer.update({"w": jnp.float32(gradient)}, state, params)
        second = 0.9 * second + 0.1 * gradient**2
        scaled = gradient / np.sqrt(second / (1 - 0.9**t))
        first = 0.5 * first + 0.5 * scaled
        np.testing.assert_allclose(updates["w"], -first / (1 - 0.5**t), rtol=1e-4)


@pytest.mark.parametrize(
    "fields",
    [
        {"second_moments": "factored"},
        {"second_moments": "factored", "first_moment_dtype": "bfloat16"},
        {"first_moment_dtype": "bfloat16"},
        {"name": "momentum", "first_moment_dtype": "bfloat16", "learning_rate": 1.0},
    ],
)
def test_training_goes_down(fields):
    config = OptimizerConfig(**{"learning_rate": 0.02, "max_grad_norm": 1e9} | fields)
    optimizer = make_optimizer(config, 100)
    target = jnp.float32(np.random.default_rng(0).normal(size=(128, 130)))

    def loss(w):
        return jnp.mean((w - target) ** 2) * 0.5 * w.size / 1e2

    @jax.jit
    def step(w, state):
        updates, state = optimizer.update(jax.grad(loss)(w), state, w)
        return w + updates, state

    w = jnp.zeros((128, 130))
    state, before = optimizer.init(w), loss(w)
    for _ in range(60):
        w, state = step(w, state)
    assert loss(w) < 0.5 * before
