"""Layers in one array each, and apart."""

import jax
import jax.numpy as jnp
import numpy as np

from stepcoder_jax.model.config import SHAPES
from stepcoder_jax.model.init import critic_from_policy, init_policy
from stepcoder_jax.model.layer_stack import layers_apart, layers_together

CONFIG = SHAPES["tiny-test"]
POLICY = init_policy(jax.random.key(0), CONFIG)


def test_every_layer_is_a_tree_of_its_own_and_the_rest_stays() -> None:
    apart = layers_apart(POLICY)
    assert len(apart["layers"]) == CONFIG.num_layers
    for i, layer in enumerate(apart["layers"]):
        expected = jax.tree.map(lambda x, i=i: x[i], POLICY["layers"])
        jax.tree.map(np.testing.assert_array_equal, layer, expected)
    assert apart["embedding"] is POLICY["embedding"]


def test_apart_and_together_is_what_it_was() -> None:
    critic = critic_from_policy(POLICY, CONFIG)
    models = (POLICY, critic, {}, None, {"head": {"kernel": jnp.ones(3)}})
    again = layers_together(layers_apart(models))
    assert jax.tree.structure(again) == jax.tree.structure(models)
    jax.tree.map(np.testing.assert_array_equal, again, models)
    # What is together already stays as it is.
    jax.tree.map(np.testing.assert_array_equal, layers_together(models), models)
