"""Whole models against the torch models of transformers, through outputs kept in tests/goldens."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.typing import DTypeLike
from random_models import positions_of
from torch_goldens import CASES, QUICK_TO_COMPILE, TorchCase, read_case

from stepcoder_jax.model.decoder import Decoder, unembed
from stepcoder_jax.model.weights import hf_tensors

# Relative norm of what bfloat16 activations change, of the logits and of the whole gradient.
BFLOAT16_LOGITS_BOUND = 0.015
BFLOAT16_GRADIENT_BOUND = 0.03

# Every case takes seconds to compile: of plain attention, with biases and with norms, one each.
OF_EACH_KIND = ("llama32", "qwen2_tied", "qwen3")


@partial(jax.jit, static_argnums=0, compiler_options=QUICK_TO_COMPILE)
def logits_and_gradient(
    decoder: Decoder, params: dict, tokens: jax.Array, targets: jax.Array, is_token: jax.Array
) -> tuple[jax.Array, dict]:
    """Logits, and the gradient of the sum of the log-probs of the targets at all tokens."""

    def score(params: dict) -> tuple[jax.Array, jax.Array]:
        hidden, _ = decoder.apply({"params": params}, tokens, positions_of(tokens))
        logits = unembed(params, hidden)
        logprobs = jax.nn.log_softmax(logits)
        chosen = jnp.take_along_axis(logprobs, targets[..., None], axis=-1)[..., 0]
        return jnp.sum(chosen, where=is_token), logits

    gradient, logits = jax.grad(score, has_aux=True)(params)
    return logits, gradient


@cache
def computed(name: str, dtype: DTypeLike) -> tuple[TorchCase, np.ndarray, dict[str, np.ndarray]]:
    """The case, and our logits at its tokens and gradients by their names in Hugging Face files."""
    case = read_case(name)
    decoder, is_token = Decoder(config=case.config, dtype=dtype), jnp.asarray(case.is_token)
    logits, gradient = logits_and_gradient(
        decoder, case.params, case.tokens, case.targets, is_token
    )
    return case, np.asarray(logits)[case.is_token], dict(hf_tensors(case.config, gradient))


def relative(rough: np.ndarray, exact: np.ndarray) -> float:
    return float(np.linalg.norm(rough - exact) / np.linalg.norm(exact))


def test_every_option_of_an_architecture_has_a_case() -> None:
    configs = [read_case(name).config for name in CASES]
    kinds = {"bias": "attention_bias", "qk_norm": "qk_norm", "tied": "tie_word_embeddings"}
    seen = {tuple(getattr(config, field) for field in kinds.values()) for config in configs}
    plain, bias, norm = ((False, False), (True, False), (False, True))
    assert seen == {(*kind, tied) for kind in (plain, bias, norm) for tied in (True, False)}
    scalings = {type(config.rope_scaling).__name__ for config in configs}
    assert scalings == {"NoneType", "LinearRope", "Llama3Rope"}
    assert {c.num_heads // c.num_kv_heads for c in configs} == {1, 2, 3, 4, 6}
    assert {c.num_heads * c.head_dim == c.hidden_size for c in configs} == {True, False}


@pytest.mark.parametrize("padding", ["logits", "left_padded_logits"])
@pytest.mark.parametrize("name", CASES)
def test_logits_equal_torch_whichever_side_it_pads(name: str, padding: str) -> None:
    # Our rows are always padded on the right; the goldens of the other side were moved there.
    case, logits, _ = computed(name, jnp.float32)
    np.testing.assert_allclose(logits, case.golden[padding][case.is_token], atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", CASES)
def test_every_gradient_equals_torch(name: str) -> None:
    case, _, gradients = computed(name, jnp.float32)
    stored = {key.removeprefix("grad/") for key in case.golden if key.startswith("grad/")}
    assert set(gradients) == stored
    for key, value in gradients.items():
        np.testing.assert_allclose(
            value, case.golden[f"grad/{key}"], atol=1e-4, rtol=0, err_msg=key
        )


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=() if name in OF_EACH_KIND else pytest.mark.slow) for name in CASES],
)
def test_bfloat16_stays_near_float32_of_torch(name: str) -> None:
    case, logits, gradients = computed(name, jnp.bfloat16)
    assert relative(logits, case.golden["logits"][case.is_token]) < BFLOAT16_LOGITS_BOUND
    rough = np.concatenate([value.ravel() for value in gradients.values()])
    exact = np.concatenate([case.golden[f"grad/{key}"].ravel() for key in gradients])
    assert relative(rough, exact) < BFLOAT16_GRADIENT_BOUND
