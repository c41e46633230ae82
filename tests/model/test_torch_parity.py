"""Ours against the torch models of transformers, through outputs kept in tests/goldens/torch."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from random_models import positions_of

from stepcoder_jax.model.config import ModelConfig
from stepcoder_jax.model.decoder import Decoder, unembed
from stepcoder_jax.model.load import read_config
from stepcoder_jax.model.weights import hf_tensors, params_from_tensors, read_safetensors

GOLDENS = Path(__file__).parent.parent / "goldens" / "torch"
CASES = sorted(path.name for path in GOLDENS.iterdir())


def read_case(name: str) -> tuple[ModelConfig, dict, dict[str, np.ndarray]]:
    folder = GOLDENS / name
    config = read_config(folder / "config.json")
    params = params_from_tensors(config, read_safetensors(folder), name)
    with np.load(folder / "outputs.npz") as file:
        return config, params, dict(file)


def test_every_architecture_has_a_case() -> None:
    configs = [read_case(name)[0] for name in CASES]
    assert {config.attention_bias for config in configs} == {True, False}
    assert {config.qk_norm for config in configs} == {True, False}
    assert {config.tie_word_embeddings for config in configs} == {True, False}
    assert {type(config.rope_scaling).__name__ for config in configs} == {
        "NoneType",
        "LinearRope",
        "Llama3Rope",
    }


@pytest.mark.parametrize("name", CASES)
def test_logits_and_gradients_equal_torch(name: str) -> None:
    config, params, golden = read_case(name)
    tokens = jnp.array(golden["tokens"], jnp.int32)

    @jax.jit
    def score(params: dict) -> tuple[jax.Array, jax.Array]:
        hidden, _ = Decoder(config=config).apply({"params": params}, tokens, positions_of(tokens))
        logits = unembed(params, hidden)
        logprobs = jax.nn.log_softmax(logits[:, :-1])
        return jnp.take_along_axis(logprobs, tokens[:, 1:, None], axis=-1).sum(), logits

    (_, logits), gradient = jax.value_and_grad(score, has_aux=True)(params)
    np.testing.assert_allclose(logits, golden["logits"], atol=1e-4, rtol=0)
    ours = dict(hf_tensors(config, gradient))
    assert {f"grad/{key}" for key in ours} == {key for key in golden if key.startswith("grad/")}
    for key, value in ours.items():
        np.testing.assert_allclose(value, golden[f"grad/{key}"], atol=1e-4, rtol=1e-4, err_msg=key)
