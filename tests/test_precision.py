"""Computing in bfloat16 with float32 parameters: what is rounded, and what adds up in what."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax._src.cudnn import fused_attention_stablehlo

from stepcoder_jax.learner.pieces import accumulate
from stepcoder_jax.model.config import SHAPES
from stepcoder_jax.model.critic import Critic
from stepcoder_jax.model.decoder import REMAT_POLICIES, Decoder
from stepcoder_jax.model.init import critic_from_policy, init_policy
from stepcoder_jax.model.precision import as_computed
from stepcoder_jax.types import TrainBatch

CONFIG = replace(SHAPES["tiny-test"], attention_bias=True, tie_word_embeddings=False)


def paths(tree: dict, dtype: str) -> set[str]:
    """Leaves of this type."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path) for path, x in leaves if x.dtype == dtype}


def test_weights_of_layers_are_rounded_and_nothing_else() -> None:
    policy = init_policy(jax.random.key(0), CONFIG)
    critic = critic_from_policy(policy, CONFIG)
    for params in (policy, critic):
        rounded = as_computed(params, jnp.bfloat16)
        kept = {"embedding", "unembedding", "scale", "head"}
        wide = paths(rounded, "float32")
        assert wide == {p for p in paths(params, "float32") if any(k in p for k in kept)}
        assert len(paths(rounded, "bfloat16")) == 10  # seven matrices, three biases
    assert paths(as_computed(policy, jnp.float32), "float32") == paths(policy, "float32")
    # What is narrower already is not widened.
    half = jax.tree.map(lambda x: x.astype(jnp.bfloat16), policy)
    assert paths(as_computed(half, jnp.float32), "float32") == set()


@pytest.mark.parametrize("remat", ["none", "layer", "dots"])
def test_rounding_beforehand_changes_no_number_of_the_forward_pass(remat: str) -> None:
    policy = init_policy(jax.random.key(0), CONFIG)
    tokens = jax.random.randint(jax.random.key(1), (2, 7), 0, CONFIG.vocab_size)
    positions = jnp.broadcast_to(jnp.arange(7), (2, 7))
    decoder = Decoder(CONFIG, dtype=jnp.bfloat16, remat=remat)
    critic = Critic(CONFIG, dtype=jnp.bfloat16, remat=remat)
    for module, params in ((decoder, policy), (critic, critic_from_policy(policy, CONFIG))):
        plain = module.apply({"params": params}, tokens, positions)
        rounded = module.apply({"params": as_computed(params, jnp.bfloat16)}, tokens, positions)
        jax.tree.map(np.testing.assert_array_equal, rounded, plain)


@pytest.mark.parametrize("pieces", [1, 3])
def test_gradients_add_up_in_the_type_of_the_parameters(pieces: int) -> None:
    """Each piece's gradient is 1 + 2⁻⁷ or 2⁻⁹: a sum in bfloat16 would lose the small ones."""
    params = {"layers": {"kernel": jnp.ones(4)}}
    slopes = jnp.array([[1 + 2.0**-7], [2.0**-9], [2.0**-9]])
    is_any = jnp.ones_like(slopes, bool)
    batch = TrainBatch(
        tokens=jnp.zeros((3, 1), jnp.int32),
        is_response=is_any,
        is_trained=is_any,
        weights=slopes,
        old_logprobs=slopes,
        ref_logprobs=slopes,
        old_values=None,
        advantages=slopes,
        returns=None,
    )

    def loss(params: dict, piece: TrainBatch) -> tuple[jax.Array, jax.Array]:
        kernel, weights = params["layers"]["kernel"], piece.weights
        assert kernel.dtype == jnp.bfloat16
        slope = jnp.sum(weights)
        return (jnp.sum(kernel) * slope.astype(kernel.dtype)).astype(jnp.float32), slope

    grads, stats = accumulate(loss, params, batch, pieces, Decoder(CONFIG, dtype=jnp.bfloat16))
    assert grads["layers"]["kernel"].dtype == jnp.float32
    assert stats.shape == (pieces,)
    if pieces > 1:
        expected = 1 + 2.0**-7 + 2 * 2.0**-9
        np.testing.assert_array_equal(grads["layers"]["kernel"], np.full(4, expected))


def test_dots_keeps_what_cudnn_attended_and_layer_does_not() -> None:
    forward = fused_attention_stablehlo._dot_product_attention_fwd_p_wrapper
    assert REMAT_POLICIES["dots"](forward)
    assert not REMAT_POLICIES["layer"](forward)
    assert not REMAT_POLICIES["dots"](jax.lax.exp_p)
