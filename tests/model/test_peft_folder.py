"""Exported adapters, against what PEFT computed with one of them (tests/goldens)."""

import json
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file
from torch_goldens import GOLDENS, QUICK_TO_COMPILE, TorchCase, read_case

from stepcoder_jax.config import LoRAConfig
from stepcoder_jax.model.apply import hidden_states
from stepcoder_jax.model.decoder import Decoder, unembed
from stepcoder_jax.model.lora import init_adapters, policy_weights
from stepcoder_jax.model.peft_folder import CONFIG_FILE, WEIGHTS_FILE, save_peft

# A model with biases, several heads for a key, and an alpha that is no multiple of the rank.
BASE, LORA = "qwen2", LoRAConfig(rank=3, alpha=5.0)


def made_up_adapters(case: TorchCase) -> dict:
    """The golden's adapters, from NumPy so that they are the same with every version of JAX."""
    rng = np.random.default_rng(6)
    shapes = jax.eval_shape(lambda: init_adapters(jax.random.key(0), case.config, LORA))
    return jax.tree.map(lambda x: jnp.asarray(0.3 * rng.normal(size=x.shape), x.dtype), shapes)


@pytest.fixture(scope="module")
def case() -> TorchCase:
    return read_case(BASE)


def test_logits_equal_those_of_peft(case: TorchCase) -> None:
    with np.load(GOLDENS / "peft.npz") as golden:
        tokens, expected = jnp.asarray(golden["tokens"], jnp.int32), golden["logits"]
    decoder = Decoder(config=case.config)
    weights = policy_weights(made_up_adapters(case), case.params, LORA)

    def logits(tokens: jax.Array) -> jax.Array:
        return unembed(
            case.params, hidden_states(decoder, weights.params, tokens, weights.adapters)
        )

    found = jax.jit(logits, compiler_options=QUICK_TO_COMPILE)(tokens)
    np.testing.assert_allclose(found, expected, atol=1e-4, rtol=0)


def test_the_folder_is_the_one_that_peft_read(case: TorchCase, tmp_path: Path) -> None:
    save_peft(tmp_path, case.config, LORA, made_up_adapters(case), "base")
    saved, kept = (load_file(folder / WEIGHTS_FILE) for folder in (tmp_path, GOLDENS / "peft"))
    assert saved.keys() == kept.keys()
    for name, tensor in kept.items():
        np.testing.assert_array_equal(saved[name], tensor, err_msg=name)
    configs = (json.loads((f / CONFIG_FILE).read_text()) for f in (tmp_path, GOLDENS / "peft"))
    found, expected = configs
    assert found == expected


def test_half_precision_is_the_adapters_rounded(case: TorchCase, tmp_path: Path) -> None:
    exact, rounded = tmp_path / "exact", tmp_path / "rounded"
    save_peft(exact, case.config, LORA, made_up_adapters(case), "base")
    save_peft(rounded, case.config, LORA, made_up_adapters(case), "base", dtype="bfloat16")
    saved = load_file(rounded / WEIGHTS_FILE)
    for name, tensor in load_file(exact / WEIGHTS_FILE).items():
        assert saved[name].dtype == "bfloat16"
        np.testing.assert_array_equal(saved[name], tensor.astype("bfloat16"), err_msg=name)


if __name__ == "__main__":
    of = read_case(BASE)
    save_peft(sys.argv[1], of.config, LORA, made_up_adapters(of), "base")
