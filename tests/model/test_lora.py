"""Adapters: what they compute, what they cost, and that nothing changes where there are none."""

import math
from dataclasses import replace

import flax.linen as nn
import flax.traverse_util as traverse
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads
from random_models import VARIANTS, random_params, random_tokens
from torch_goldens import QUICK_TO_COMPILE

from stepcoder_jax.config import LORA_TARGETS, LoRAConfig
from stepcoder_jax.model.apply import hidden_states, values_after
from stepcoder_jax.model.config import ModelConfig
from stepcoder_jax.model.critic import Critic
from stepcoder_jax.model.decoder import Decoder
from stepcoder_jax.model.init import critic_from_policy, init_policy, logical_axes
from stepcoder_jax.model.layers import ADAPTERS, adapted
from stepcoder_jax.model.lora import (
    TARGETS,
    adapter_axes,
    critic_weights,
    init_adapters,
    merge,
    policy_weights,
)

LORA = LoRAConfig(rank=3, alpha=5.0)
TOKENS = random_tokens(2, 6)


def random_adapters(config: ModelConfig, lora: LoRAConfig = LORA) -> dict:
    """Adapters that matter: neither A nor B is zero."""
    shapes = init_adapters(jax.random.key(0), config, lora)
    leaves, tree = jax.tree.flatten(shapes)
    keys = jax.random.split(jax.random.key(4), len(leaves))
    drawn = [0.3 * jax.random.normal(k, x.shape) for k, x in zip(keys, leaves, strict=True)]
    return jax.tree.unflatten(tree, drawn)


def states(decoder: Decoder, base: dict, adapters: dict | None, lora: LoRAConfig) -> jax.Array:
    trained, frozen = (base, None) if adapters is None else (adapters, base)
    weights = policy_weights(trained, frozen, lora)
    return hidden_states(decoder, weights.params, TOKENS, weights.adapters)


hidden_of = jax.jit(states, static_argnames=("decoder", "lora"), compiler_options=QUICK_TO_COMPILE)


def test_the_targets_of_a_recipe_are_the_matrices_of_a_layer() -> None:
    assert tuple(TARGETS) == LORA_TARGETS
    kernels = traverse.flatten_dict(init_policy(jax.random.key(0), VARIANTS["untied"])["layers"])
    assert {t.path for t in TARGETS.values()} == {p[:2] for p in kernels if p[2:] == ("kernel",)}


def test_new_adapters_leave_every_bit_of_the_base_as_it_is() -> None:
    config = VARIANTS["bias"]
    base, decoder = random_params(config), Decoder(config=config)
    adapters = init_adapters(jax.random.key(1), config, LORA)
    expected = hidden_of(decoder, base, None, LORA)
    np.testing.assert_array_equal(hidden_of(decoder, base, adapters, LORA), expected)
    merged = merge(base, adapters, LORA)
    assert jax.tree.structure(merged) == jax.tree.structure(base)
    jax.tree.map(np.testing.assert_array_equal, merged, base)


@pytest.mark.parametrize("variant", VARIANTS)
def test_adapters_beside_the_base_are_the_merged_model(variant: str) -> None:
    config = VARIANTS[variant]
    base, adapters = random_params(config), random_adapters(config)
    decoder = Decoder(config=config)
    found = hidden_of(decoder, base, adapters, LORA)
    expected = hidden_of(decoder, merge(base, adapters, LORA), None, LORA)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    assert not np.allclose(found, hidden_of(decoder, base, None, LORA), atol=1e-2)


def test_each_target_adapts_its_own_matrix() -> None:
    config = VARIANTS["tied"]
    base, decoder = random_params(config), Decoder(config=config)
    every = traverse.flatten_dict(random_adapters(config))
    for name, target in TARGETS.items():
        alone = {p: x if p[1:3] == target.path else jnp.zeros_like(x) for p, x in every.items()}
        adapters = traverse.unflatten_dict(alone)
        found = hidden_of(decoder, base, adapters, LORA)
        expected = hidden_of(decoder, merge(base, adapters, LORA), None, LORA)
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5, err_msg=name)


def test_only_the_targets_have_adapters_and_are_drawn_as_among_all() -> None:
    config, some = VARIANTS["tied"], replace(LORA, targets=("v_proj", "down_proj"))
    alone, among = (
        traverse.flatten_dict(init_adapters(jax.random.key(2), config, c)) for c in (some, LORA)
    )
    assert {path[1:3] for path in alone} == {("attention", "value"), ("mlp", "down")}
    for path, x in alone.items():
        np.testing.assert_array_equal(x, among[path])
    base, adapters = random_params(config), random_adapters(config, some)
    found = hidden_of(Decoder(config=config), base, adapters, some)
    merged = merge(base, adapters, some)
    expected = hidden_of(Decoder(config=config), merged, None, some)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_a_critic_is_the_base_with_its_own_adapters_and_head() -> None:
    config = VARIANTS["untied"]
    base, adapters = random_params(config), random_adapters(config)
    head = {"kernel": jnp.linspace(-1.0, 1.0, config.hidden_size)[:, None]}
    weights = critic_weights(critic_from_policy(adapters, config) | {"head": head}, base, LORA)
    merged = critic_from_policy(merge(base, adapters, LORA), config) | {"head": head}
    critic = Critic(config=config)
    found = values_after(critic, weights.params, TOKENS, weights.adapters)
    np.testing.assert_allclose(found, values_after(critic, merged, TOKENS), rtol=1e-4, atol=1e-4)


# The kinds of matrices there are, as (shape of x, output features, axes of x contracted).
DENSES = {
    "plain": ((2, 5, 6), 7, -1),
    "heads_out": ((2, 5, 6), (3, 4), -1),
    "heads_in": ((2, 5, 3, 4), 6, (-2, -1)),
}


@pytest.mark.parametrize("kind", DENSES)
def test_gradients_are_the_chain_rule_through_a_merged_matrix(kind: str) -> None:
    shape, features, axis = DENSES[kind]
    rank, scale = 3, 5 / 3
    with jax.enable_x64(True):
        dense = nn.DenseGeneral(
            features, axis=axis, dtype=jnp.float64, param_dtype=jnp.float64, use_bias=False
        )
        x = jax.random.normal(jax.random.key(0), shape, jnp.float64)
        params = dense.init(jax.random.key(1), x)["params"]
        inputs = 2 if kind == "heads_in" else 1
        kernel = params["kernel"]
        a = jax.random.normal(jax.random.key(2), (*kernel.shape[:inputs], rank), jnp.float64)
        b = jax.random.normal(jax.random.key(3), (rank, *kernel.shape[inputs:]), jnp.float64)

        @jax.jit
        def loss(a: jax.Array, b: jax.Array) -> jax.Array:
            variables = {"params": params, ADAPTERS: {"a": a, "b": scale * b}}
            return jnp.mean(jnp.sin(nn.apply(adapted, dense)(variables, x)))

        @jax.jit
        def merged_loss(kernel: jax.Array) -> jax.Array:
            return jnp.mean(jnp.sin(dense.apply({"params": {"kernel": kernel}}, x)))

        flat_a, flat_b = np.asarray(a).reshape(-1, rank), np.asarray(b).reshape(rank, -1)
        merged = np.asarray(kernel) + scale * (flat_a @ flat_b).reshape(kernel.shape)
        np.testing.assert_allclose(loss(a, b), merged_loss(merged), rtol=1e-10)
        of_kernel = np.asarray(jax.grad(merged_loss)(merged)).reshape(len(flat_a), -1)
        of_a, of_b = jax.grad(loss, argnums=(0, 1))(a, b)
        expected_a, expected_b = scale * of_kernel @ flat_b.T, scale * flat_a.T @ of_kernel
        np.testing.assert_allclose(of_a, expected_a.reshape(a.shape), rtol=1e-10, atol=1e-10)
        np.testing.assert_allclose(of_b, expected_b.reshape(b.shape), rtol=1e-10, atol=1e-10)
        check_grads(loss, (a, b), order=1, modes=("rev",))


def test_gradients_of_a_whole_models_adapters_are_the_chain_rule() -> None:
    config = VARIANTS["bias"]
    base, adapters = random_params(config), random_adapters(config)
    decoder = Decoder(config=config, remat="layer")

    def loss(adapters: dict) -> jax.Array:
        return jnp.mean(jnp.sin(states(decoder, base, adapters, LORA)))

    def merged_loss(adapters: dict) -> jax.Array:
        return jnp.mean(jnp.sin(states(decoder, merge(base, adapters, LORA), None, LORA)))

    found, expected = (
        traverse.flatten_dict(jax.jit(jax.grad(f), compiler_options=QUICK_TO_COMPILE)(adapters))
        for f in (loss, merged_loss)
    )
    for path, gradient in expected.items():
        assert jnp.linalg.norm(gradient) > 1e-4, path
        gap = jnp.linalg.norm(found[path] - gradient) / jnp.linalg.norm(gradient)
        assert gap < 1e-4, path


def test_a_merged_matrix_keeps_its_dtype_and_other_leaves_are_not_copied() -> None:
    config = VARIANTS["tied"]
    base = jax.tree.map(lambda x: x.astype(jnp.bfloat16), random_params(config))
    merged = merge(base, random_adapters(config), replace(LORA, targets=("q_proj", "down_proj")))
    changed = {
        path
        for path, x in traverse.flatten_dict(merged).items()
        if x is not traverse.flatten_dict(base)[path]
    }
    paths = (("attention", "query"), ("mlp", "down"))
    assert changed == {("layers", *path, "kernel") for path in paths}
    assert {x.dtype for x in jax.tree.leaves(merged)} == {jnp.dtype(jnp.bfloat16)}


def test_what_is_drawn_is_uniform_within_the_inverse_root_of_the_inputs() -> None:
    config = VARIANTS["tied"]
    adapters = init_adapters(jax.random.key(3), config, replace(LORA, rank=64))
    attention = adapters["layers"]["attention"]
    for layer, inputs in (("query", 16), ("output", 4 * 4)):
        a = attention[layer]["a"]
        bound = 1 / math.sqrt(inputs)
        assert a.dtype == jnp.float32
        assert bound * 0.99 < jnp.max(jnp.abs(a)) <= bound
        np.testing.assert_allclose(jnp.std(a), bound / math.sqrt(3), rtol=0.05)
        assert not np.any(attention[layer]["b"])
    assert not np.allclose(attention["query"]["a"][0], attention["query"]["a"][1])


def test_logical_axes_are_the_kernels_and_none_for_the_rank() -> None:
    config = VARIANTS["untied"]
    axes, kernels = adapter_axes(config, LORA), logical_axes(config)["layers"]
    shapes = init_adapters(jax.random.key(0), config, LORA)
    assert jax.tree.structure(axes) == jax.tree.structure(shapes)
    for target in TARGETS.values():
        block, layer = target.path
        pair = axes["layers"][block][layer]
        joined = (*tuple(pair["a"])[:-1], *tuple(pair["b"])[2:])
        assert joined == tuple(kernels[block][layer]["kernel"])
        assert (pair["a"][-1], pair["b"][1]) == (None, None)
