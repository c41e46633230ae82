"""Parameters for generation: the same model, rearranged."""

from collections.abc import Iterator
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.typing import DTypeLike
from random_models import VARIANTS, logits_of, one_device_of, random_params, random_tokens

from stepcoder_jax.model import apply, platform
from stepcoder_jax.model.decoder import Decoder
from stepcoder_jax.model.product import product
from stepcoder_jax.model.serving import next_logits, serving_decoder, serving_params
from stepcoder_jax.types import Params


@pytest.fixture(params=["no units", "amx_bf16", "avx512_bf16"])
def cpu_unit(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A CPU that multiplies bfloat16, or none; what was traced for another is forgotten."""
    monkeypatch.setattr(platform, "cpu_flags", lambda: frozenset({"avx2", request.param}))
    jax.clear_caches()
    yield request.param
    jax.clear_caches()


@pytest.mark.parametrize("rows", [1, 16, 128, 129, 600])
def test_a_product_of_few_or_many_rows_is_the_product(rows: int) -> None:
    rng = np.random.default_rng(0)
    x, kernel = rng.normal(size=(rows, 40)), rng.normal(size=(24, 40))
    found = product(jnp.asarray(x, jnp.float32), jnp.asarray(kernel, jnp.float32), jnp.float32)
    np.testing.assert_allclose(found, x @ kernel.T, atol=1e-5)


@pytest.mark.parametrize("name", VARIANTS)
def test_prompts_are_read_as_whole_rows_are(name: str) -> None:
    config = VARIANTS[name]
    decoder, params, tokens = Decoder(config=config), random_params(config), random_tokens(3, 9)
    weights = serving_params(params, dtype=jnp.float32)
    read = apply.prefill(serving_decoder(decoder), weights, tokens)
    expected = logits_of(decoder, params, tokens)[:, -1]
    np.testing.assert_allclose(next_logits(weights, read.hidden[:, -1]), expected, atol=2e-5)
    assert len(read.cache.layers) == config.num_layers
    assert read.cache.slots == 9


@pytest.mark.parametrize("dtype", [jnp.bfloat16, "bfloat16"])
@pytest.mark.parametrize("kind", ["cpu", "gpu", "tpu"])
def test_in_bfloat16_everything_but_the_norms_is_bfloat16(
    kind: str, dtype: DTypeLike, cpu_unit: str
) -> None:
    params = random_params(VARIANTS["qk_norm"])
    with one_device_of(kind):
        weights = jax.eval_shape(partial(serving_params, dtype=dtype), params)
    kinds = {
        jax.tree_util.keystr(path[-1:]): leaf.dtype
        for path, leaf in jax.tree_util.tree_leaves_with_path(weights)
    }
    held = jnp.float32 if (kind, cpu_unit) == ("cpu", "no units") else jnp.bfloat16
    assert kinds == {"['embedding']": held, "['kernel']": held, "['scale']": jnp.float32}


def test_bfloat16_is_rounded_all_the_same_where_it_is_held_wider(cpu_unit: str) -> None:
    config = VARIANTS["bias"]
    decoder, params, tokens = Decoder(config=config), random_params(config), random_tokens(3, 9)
    weights = serving_params(params, dtype=jnp.bfloat16)
    wide = jnp.float32 if cpu_unit == "no units" else jnp.bfloat16
    assert all(leaf.dtype == wide for leaf in jax.tree.leaves(weights["layer_0"]["mlp"]))
    for leaf in jax.tree.leaves(weights["layer_0"]["mlp"]):
        np.testing.assert_array_equal(leaf, leaf.astype(jnp.bfloat16).astype(jnp.float32))

    def logits(weights: Params) -> jax.Array:
        serving = serving_decoder(decoder.clone(dtype=jnp.bfloat16))
        read = apply.prefill(serving, weights, tokens[:, :-1])
        for layer in read.cache.layers:
            for x in (layer.keys, layer.values):
                np.testing.assert_array_equal(x, x.astype(jnp.bfloat16).astype(jnp.float32))
        return next_logits(weights, read.hidden[:, -1])

    narrow = jax.tree_util.tree_map_with_path(
        lambda path, x: x if path[-1].key == "scale" else x.astype(jnp.bfloat16), weights
    )
    np.testing.assert_allclose(logits(weights), logits(narrow), atol=1e-6)


def test_nothing_is_lost() -> None:
    params = random_params(VARIANTS["bias"])
    weights = serving_params(params, dtype=jnp.float32)
    before, after = (
        np.sort(np.concatenate([np.ravel(x) for x in jax.tree.leaves(tree)]))
        for tree in (params, weights)
    )
    np.testing.assert_array_equal(before, after)
