"""Each part of a layer against the same part of the torch models, fed with torch's own numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from random_models import positions_of
from torch_goldens import CASES, QUICK_TO_COMPILE, ROPES, read_case, read_rope

from stepcoder_jax.model.config import ModelConfig
from stepcoder_jax.model.layers import Attention, FeedForward, Layer, RMSNorm
from stepcoder_jax.model.rope import rope_angles

FLOAT32 = (jnp.float32, jnp.float32)


def projections(config: ModelConfig, params: dict, x: jax.Array) -> dict[str, jax.Array]:
    """Queries, keys and values before rope, and before the norms that Qwen3 puts between."""
    attention = Attention(config, *FLOAT32, "xla")
    parts = {"q_proj": "query", "k_proj": "key", "v_proj": "value"}
    return {
        theirs: attention.apply({"params": params}, x, method=lambda m, x, p=ours: getattr(m, p)(x))
        for theirs, ours in parts.items()
    }


def norms_of_heads(config: ModelConfig, params: dict, torch: dict) -> dict[str, jax.Array]:
    norm = RMSNorm(config.rms_norm_eps, "head_dim", *FLOAT32)
    normalised = {}
    for letter, part in (("q", "query_norm"), ("k", "key_norm")):
        heads = torch[f"{letter}_proj"]
        heads = heads.reshape(*heads.shape[:2], -1, config.head_dim)
        normalised[f"{letter}_norm"] = norm.apply({"params": params[part]}, heads)
    return normalised


def parts_of_last_layer(config: ModelConfig, params: dict, torch: dict) -> dict[str, jax.Array]:
    """Output of each of our parts by torch's name, given torch's outputs of the parts before it."""
    last = jax.tree.map(lambda leaf: leaf[-1], params["layers"])
    norm = RMSNorm(config.rms_norm_eps, "embed", *FLOAT32)
    x, normalised = torch["first_layer"], torch["input_layernorm"]
    positions = positions_of(x[..., 0])
    angles = rope_angles(positions, config.head_dim, config.rope_theta, config.rope_scaling)
    attended, _ = Attention(config, *FLOAT32, "xla").apply(
        {"params": last["attention"]}, normalised, positions, angles, None
    )
    layer, _ = Layer(config, *FLOAT32, "xla").apply({"params": last}, x, positions, angles)
    ours = {
        "input_layernorm": norm.apply({"params": last["attention_norm"]}, x),
        "self_attn": attended,
        "post_attention_layernorm": norm.apply(
            {"params": last["mlp_norm"]}, x + torch["self_attn"]
        ),
        "mlp": FeedForward(config, *FLOAT32).apply(
            {"params": last["mlp"]}, torch["post_attention_layernorm"]
        ),
        "last_layer": layer,
        "norm": norm.apply({"params": params["final_norm"]}, torch["last_layer"]),
    }
    ours |= projections(config, last["attention"], normalised)
    return ours | (norms_of_heads(config, last["attention"], torch) if config.qk_norm else {})


@pytest.mark.parametrize("name", CASES)
def test_every_part_of_a_layer_equals_torch(name: str) -> None:
    case = read_case(name)
    torch = {
        key.removeprefix("out/"): jnp.asarray(value)
        for key, value in case.golden.items()
        if key.startswith("out/")
    }
    run = jax.jit(parts_of_last_layer, static_argnums=0, compiler_options=QUICK_TO_COMPILE)
    ours = run(case.config, case.params, torch)
    # The first layer is what the last one is fed with.
    assert set(ours) == set(torch) - {"first_layer"}
    for part, value in ours.items():
        expected = np.asarray(torch[part])[case.is_token]
        actual = np.asarray(value).reshape(torch[part].shape)[case.is_token]
        np.testing.assert_allclose(actual, expected, atol=1e-4, rtol=0, err_msg=part)


@pytest.mark.parametrize("name", ROPES)
def test_rope_equals_torch_to_the_end_of_a_real_context(name: str) -> None:
    config, golden = read_rope(name)
    positions = jnp.asarray(golden["positions"], jnp.int32)[None]
    ours = rope_angles(positions, config.head_dim, config.rope_theta, config.rope_scaling)
    np.testing.assert_allclose(ours.cos[0], golden["cos"], atol=1e-4, rtol=0)
    np.testing.assert_allclose(ours.sin[0], golden["sin"], atol=1e-4, rtol=0)
