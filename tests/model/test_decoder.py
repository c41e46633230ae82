from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from random_models import (
    TINY,
    VARIANTS,
    cached_logits_of,
    logits_of,
    positions_of,
    random_params,
    random_tokens,
)

from stepcoder_jax.model.cache import KVCache, LayerCache, init_cache
from stepcoder_jax.model.config import SHAPES
from stepcoder_jax.model.decoder import Decoder
from stepcoder_jax.model.init import init_policy, logical_axes
from stepcoder_jax.model.serving import serving_decoder, serving_params

LOGICAL_NAMES = {"vocab", "embed", "heads", "kv_heads", "head_dim", "mlp", "layers", None}


@pytest.mark.parametrize("name", VARIANTS)
def test_cached_decoding_equals_the_full_pass_for_rows_of_different_length(name: str) -> None:
    config = VARIANTS[name]
    decoder, params, tokens = Decoder(config=config), random_params(config), random_tokens(3, 9)
    full = logits_of(decoder, params, tokens)
    lengths = jnp.array([2, 5, 4], jnp.int32)
    is_prompt = jnp.arange(5)[None] < lengths[:, None]
    padded = jnp.where(is_prompt, tokens[:, :5], 0)
    cache = init_cache(config, 3, 9, jnp.float32)
    logits, cache = cached_logits_of(decoder, params, padded, positions_of(padded), cache)
    rows = jnp.arange(3)
    np.testing.assert_allclose(logits[rows, lengths - 1], full[rows, lengths - 1], atol=2e-5)
    for step in range(4):
        position = (lengths + step)[:, None]
        token = jnp.take_along_axis(tokens, position, axis=1)
        logits, cache = cached_logits_of(decoder, params, token, position, cache)
        np.testing.assert_allclose(logits[:, 0], full[rows, position[:, 0]], atol=2e-5)


def test_what_lies_right_of_a_token_does_not_change_it() -> None:
    config = VARIANTS["tied"]
    decoder, params = Decoder(config=config), random_params(config)
    tokens = random_tokens(2, 8)
    other = tokens.at[:, 5:].set((tokens[:, 5:] + 1) % config.vocab_size)
    np.testing.assert_array_equal(
        logits_of(decoder, params, tokens)[:, :5], logits_of(decoder, params, other)[:, :5]
    )


def test_the_amount_of_padding_does_not_change_logits() -> None:
    config = VARIANTS["tied"]
    decoder, params, tokens = Decoder(config=config), random_params(config), random_tokens(2, 6)
    padded = jnp.pad(tokens, ((0, 0), (0, 10)))
    np.testing.assert_allclose(
        logits_of(decoder, params, padded)[:, :6], logits_of(decoder, params, tokens), atol=2e-5
    )


def test_a_position_beyond_the_cache_writes_nothing() -> None:
    config = VARIANTS["tied"]
    decoder, params, tokens = Decoder(config=config), random_params(config), random_tokens(2, 4)
    cache = init_cache(config, 2, 4, jnp.float32)
    _, before = cached_logits_of(decoder, params, tokens, positions_of(tokens), cache)
    beyond = jnp.full((2, 1), before.slots, jnp.int32)
    _, after = cached_logits_of(decoder, params, tokens[:, :1], beyond, before)
    for old, new in zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True):
        np.testing.assert_array_equal(old, new)


def decode_loop(
    decoder: Decoder, weights: dict, token: jax.Array, steps: jax.Array, cache: dict
) -> KVCache:
    def step(state: tuple[jax.Array, KVCache]) -> tuple[jax.Array, KVCache]:
        position, cache = state
        rows = jnp.full(token.shape, position, jnp.int32)
        _, cache = serving_decoder(decoder).apply({"params": weights}, token, rows, cache)
        return position + 1, cache

    layers = tuple(LayerCache(**cache[i]) for i in range(len(cache)))
    start = (jnp.int32(0), KVCache(layers=layers))
    return jax.lax.while_loop(lambda state: state[0] < steps, step, start)[1]


def test_decoding_updates_the_cache_in_place() -> None:
    config = replace(TINY, num_layers=8)
    decoder = Decoder(config=config)
    params = jax.eval_shape(lambda: init_policy(jax.random.key(0), config))
    weights = jax.eval_shape(partial(serving_params, dtype=jnp.float32), params)
    cache = {
        i: {"keys": layer.keys, "values": layer.values}
        for i, layer in enumerate(init_cache(config, 2, 4096, jnp.float32).layers)
    }
    token = jax.ShapeDtypeStruct((2, 1), jnp.int32)
    steps = jax.ShapeDtypeStruct((), jnp.int32)
    loop = jax.jit(decode_loop, static_argnums=0, donate_argnums=4)
    memory = loop.lower(decoder, weights, token, steps, cache).compile().memory_analysis()
    cache_bytes = sum(leaf.nbytes for leaf in jax.tree.leaves(cache))
    assert memory.alias_size_in_bytes >= cache_bytes
    # A working copy of one layer's slots is 1/8 of the cache; a second cache would be all of it.
    assert memory.temp_size_in_bytes < cache_bytes // 2


@pytest.mark.parametrize("unroll", [False, True])
@pytest.mark.parametrize("remat", ["none", "layer", "dots"])
def test_remat_and_unrolling_change_neither_loss_nor_gradient(remat: str, unroll: bool) -> None:
    config = VARIANTS["qk_norm"]
    params, tokens = random_params(config), random_tokens(2, 6)

    @partial(jax.jit, static_argnums=1)
    def loss(params: dict, decoder: Decoder) -> jax.Array:
        return jnp.sum(logits_of(decoder, params, tokens) ** 2)

    plain = jax.value_and_grad(loss)(params, Decoder(config=config))
    again = jax.value_and_grad(loss)(params, Decoder(config=config, remat=remat, unroll=unroll))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-3), plain, again)


def test_unrolled_layers_are_no_loop_and_remat_still_keeps_less_of_them() -> None:
    config = replace(TINY, num_layers=6)
    params, tokens = random_params(config), random_tokens(4, 64)

    def compiled(unroll: bool, remat: str) -> jax.stages.Compiled:
        decoder = Decoder(config=config, remat=remat, unroll=unroll)
        gradient = jax.grad(lambda params: jnp.sum(logits_of(decoder, params, tokens) ** 2))
        return jax.jit(gradient).lower(params).compile()

    def kept(remat: str) -> int:
        program = compiled(unroll=True, remat=remat)
        assert " while(" not in program.as_text()
        return program.memory_analysis().temp_size_in_bytes

    assert " while(" in compiled(unroll=False, remat="none").as_text()
    # XLA would merge what is computed again with what was, if it could see that it is the same.
    assert kept("layer") < kept("none") / 2


def test_unknown_remat_and_attention_are_refused_by_name() -> None:
    tokens = random_tokens(1, 2)
    params = random_params(TINY)
    with pytest.raises(ValueError, match="remat = 'some' is unknown"):
        logits_of(Decoder(config=TINY, remat="some"), params, tokens)
    with pytest.raises(ValueError, match="attention = 'flash' is unknown; allowed: xla, cudnn"):
        logits_of(Decoder(config=TINY, attention="flash"), params, tokens)


@pytest.mark.parametrize("name", VARIANTS)
def test_logical_axes_name_every_axis_of_every_parameter(name: str) -> None:
    config = VARIANTS[name]
    shapes = jax.eval_shape(lambda: init_policy(jax.random.key(0), config))
    axes = logical_axes(config)
    assert jax.tree.structure(shapes) == jax.tree.structure(axes)
    for leaf, names in zip(jax.tree.leaves(shapes), jax.tree.leaves(axes), strict=True):
        assert len(names) == leaf.ndim
        assert set(names) <= LOGICAL_NAMES
    assert all(names[0] == "layers" for names in jax.tree.leaves(axes["layers"]))


def test_bfloat16_activations_keep_float32_logits_and_parameters() -> None:
    config = VARIANTS["tied"]
    params, tokens = random_params(config), random_tokens(2, 6)
    exact = logits_of(Decoder(config=config), params, tokens)
    rough = logits_of(Decoder(config=config, dtype=jnp.bfloat16), params, tokens)
    assert rough.dtype == jnp.float32
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype("float32")}
    relative = jnp.linalg.norm(rough - exact) / jnp.linalg.norm(exact)
    assert 0 < relative < 0.03


def test_the_shape_of_the_real_model_has_its_number_of_parameters() -> None:
    shapes = jax.eval_shape(lambda: init_policy(jax.random.key(0), SHAPES["smollm2-135m"]))
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == 134_515_008
