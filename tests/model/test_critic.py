import jax
import jax.numpy as jnp
import numpy as np
from random_models import VARIANTS, positions_of, random_params, random_tokens

from stepcoder_jax.model.critic import Critic
from stepcoder_jax.model.decoder import Decoder
from stepcoder_jax.model.init import critic_from_policy, critic_logical_axes


def test_a_new_critic_values_everything_at_zero_and_can_learn() -> None:
    config = VARIANTS["untied"]
    params = critic_from_policy(random_params(config), config)
    tokens = random_tokens(2, 5)

    @jax.jit
    def values_of(params: dict) -> jax.Array:
        return Critic(config=config).apply({"params": params}, tokens, positions_of(tokens))

    values = values_of(params)
    assert values.dtype == jnp.float32
    np.testing.assert_array_equal(values, np.zeros((2, 5)))
    gradient = jax.grad(lambda p: jnp.sum(values_of(p)))(params)
    assert jnp.all(jnp.abs(gradient["head"]["kernel"]) > 0)


def test_values_are_the_head_times_the_policys_hidden_states() -> None:
    config = VARIANTS["untied"]
    policy, tokens = random_params(config), random_tokens(2, 5)
    params = critic_from_policy(policy, config)
    head = jnp.linspace(-1.0, 1.0, config.hidden_size)[:, None]
    params["head"]["kernel"] = head
    hidden, _ = Decoder(config=config).apply({"params": policy}, tokens, positions_of(tokens))
    values = Critic(config=config).apply({"params": params}, tokens, positions_of(tokens))
    np.testing.assert_allclose(values, (hidden @ head)[..., 0], atol=1e-5)


def test_a_critic_owns_its_arrays_and_has_no_unembedding() -> None:
    config = VARIANTS["untied"]
    policy = random_params(config)
    params = critic_from_policy(policy, config)
    assert "unembedding" not in params["backbone"]
    jax.tree.map(lambda leaf: leaf.delete(), policy)
    assert jnp.isfinite(params["backbone"]["embedding"]).all()


def test_logical_axes_cover_the_critic() -> None:
    config = VARIANTS["untied"]
    params = critic_from_policy(random_params(config), config)
    axes = critic_logical_axes(config)
    assert jax.tree.structure(params) == jax.tree.structure(axes)
    for leaf, names in zip(jax.tree.leaves(params), jax.tree.leaves(axes), strict=True):
        assert len(names) == leaf.ndim
