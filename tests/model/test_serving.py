"""Parameters for generation: the same model, rearranged."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from random_models import VARIANTS, logits_of, random_params, random_tokens

from stepcoder_jax.model import apply
from stepcoder_jax.model.decoder import Decoder
from stepcoder_jax.model.product import product
from stepcoder_jax.model.serving import next_logits, serving_decoder, serving_params


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


def test_in_bfloat16_everything_but_the_norms_is_bfloat16() -> None:
    weights = serving_params(random_params(VARIANTS["qk_norm"]), dtype=jnp.bfloat16)
    kinds = {
        jax.tree_util.keystr(path[-1:]): leaf.dtype
        for path, leaf in jax.tree_util.tree_leaves_with_path(weights)
    }
    assert kinds == {
        "['embedding']": jnp.bfloat16,
        "['kernel']": jnp.bfloat16,
        "['scale']": jnp.float32,
    }


def test_nothing_is_lost() -> None:
    params = random_params(VARIANTS["bias"])
    weights = serving_params(params, dtype=jnp.float32)
    before, after = (
        np.sort(np.concatenate([np.ravel(x) for x in jax.tree.leaves(tree)]))
        for tree in (params, weights)
    )
    np.testing.assert_array_equal(before, after)
