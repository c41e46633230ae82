import math
from dataclasses import asdict, replace

import jax.numpy as jnp
import numpy as np
import pytest
from random_models import TINY, VARIANTS

from stepcoder_jax.model.config import ModelConfig
from stepcoder_jax.model.rope_frequencies import LinearRope, Llama3Rope, inverse_frequencies

LLAMA3 = Llama3Rope(
    factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=64
)


BAD_NUMBERS = (None, 0, -2, "x", True, math.inf, math.nan, 10**400)


def llama3(**change: object) -> dict:
    return {"rope_scaling": {"rope_type": "llama3", **asdict(LLAMA3)} | change}


MISTRAL = {"model_type": "mistral", "architectures": None}
QWEN3 = {"model_type": "qwen3", "architectures": None}


@pytest.mark.parametrize(
    "config",
    [
        *VARIANTS.values(),
        replace(TINY, rope_scaling=LinearRope(factor=4.0), rope_theta=1e5),
        replace(TINY, rope_scaling=LLAMA3),
    ],
)
def test_config_survives_hugging_face_and_back(config: ModelConfig) -> None:
    assert ModelConfig.from_hf(config.to_hf()) == config


def test_the_flat_and_the_nested_form_of_rope_read_the_same() -> None:
    flat = TINY.to_hf() | {"rope_theta": 5e5, "rope_scaling": {"type": "linear", "factor": 2.0}}
    nested = TINY.to_hf() | {
        "rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 5e5}
    }
    renamed = TINY.to_hf() | {"rope_scaling": nested["rope_parameters"]}
    expected = replace(TINY, rope_theta=5e5, rope_scaling=LinearRope(factor=2.0))
    assert all(ModelConfig.from_hf(hf) == expected for hf in (flat, nested, renamed))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "gemma2"}, "model_type = 'gemma2' is not supported; allowed: llama"),
        ({"model_type": "mixtral"}, "model_type = 'mixtral' is not supported"),
        ({"model_type": "qwen3_moe"}, "model_type = 'qwen3_moe' is not supported"),
        ({"architectures": ["LlamaForSequenceClassification"]}, "LlamaForSequenceClassification"),
        ({"hidden_act": "gelu"}, "hidden_act = 'gelu' is not supported; allowed: 'silu'"),
        ({"mlp_bias": True}, "mlp_bias = True"),
        ({"attention_bias": True}, "attention_bias = True"),
        ({"quantization_config": {"bits": 4}}, "quantization_config"),
        ({"logit_softcap": 30.0}, "logit_softcap = 30.0"),
        ({"rope_scaling": {"rope_type": "yarn", "factor": 4.0}}, "rope scaling 'yarn'"),
        ({"rope_scaling": {"rope_type": "linear", "factor": 4.0, "beta": 1}}, "beta"),
        ({"rope_scaling": {"rope_type": "dynamic", "factor": 4.0}}, "rope scaling 'dynamic'"),
        ({"rope_scaling": {"type": "longrope", "factor": 4.0}}, "rope scaling 'longrope'"),
        (
            {"rope_parameters": {"rope_type": "default", "partial_rotary_factor": 0.5}},
            "{'partial_rotary_factor': 0.5} is not supported",
        ),
        (
            {
                "rope_parameters": {"rope_type": "default"},
                "rope_scaling": {"rope_type": "linear", "factor": 4.0},
            },
            "rope_scaling = {'rope_type': 'linear', 'factor': 4.0} and rope_parameters",
        ),
        ({"partial_rotary_factor": 0.5}, "partial_rotary_factor = 0.5 is not supported"),
        ({"rope_interleaved": True}, "rope_interleaved = True is not supported"),
        ({"attention_dropout": 0.1}, "attention_dropout = 0.1 is not supported"),
        ({"num_local_experts": 8}, "num_local_experts = 8: this option"),
        (MISTRAL | {"sliding_window": 4096}, "sliding_window = 4096"),
        (MISTRAL, "sliding_window = 4096"),
        (MISTRAL | {"sliding_window": 64, "use_sliding_window": False}, "sliding_window = 64"),
        (QWEN3 | {"use_sliding_window": True}, "sliding_window = 4096"),
        (QWEN3 | {"attention_bias": True}, "attention_bias = True is not supported"),
        (QWEN3 | {"head_dim": None}, "lacks head_dim"),
        ({"num_key_value_heads": 3}, "num_heads = 4 must be a multiple of num_kv_heads = 3"),
        ({"head_dim": 5}, "head_dim = 5 must be even"),
        ({"hidden_size": "16"}, "hidden_size = '16' must be a positive whole number"),
        ({"num_key_value_heads": 0}, "num_key_value_heads = 0 must be a positive whole number"),
        ({"num_hidden_layers": None}, "num_hidden_layers: it is null"),
        ({"rms_norm_eps": "1e-6"}, "rms_norm_eps = '1e-6' must be a positive number"),
        ({"rms_norm_eps": math.inf}, "rms_norm_eps = inf must be a positive number"),
        ({"rms_norm_eps": math.nan}, "rms_norm_eps = nan must be a positive number"),
        ({"rms_norm_eps": 0}, "rms_norm_eps = 0 must be a positive number"),
        ({"rms_norm_eps": -1e-5}, "rms_norm_eps = -1e-05 must be a positive number"),
        ({"rms_norm_eps": True}, "rms_norm_eps = True must be a positive number"),
        ({"num_hidden_layers": True}, "num_hidden_layers = True must be a positive whole number"),
        ({"vocab_size": 304.0}, "vocab_size = 304.0 must be a positive whole number"),
        ({"hidden_size": 66, "head_dim": None}, "hidden_size = 66 must be a multiple of num_att"),
        ({"tie_word_embeddings": "false"}, "tie_word_embeddings = 'false' is not supported"),
        ({"use_sliding_window": "false"}, "use_sliding_window = 'false' is not supported"),
        ({"model_type": ["llama"]}, r"model_type = \['llama'\] is not supported"),
        (
            {"architectures": "LlamaForCausalLM"},
            "architectures = 'LlamaForCausalLM' must be a list",
        ),
        ({"layer_types": 5}, "layer_types = 5 must be a list of strings or null"),
        ({"layer_types": "full_attention"}, "layer_types = 'full_attention' must be a list"),
        ({"layer_types": [None]}, r"layer_types = \[None\] must be a list of strings"),
        ({"rope_parameters": "linear"}, "rope_parameters = 'linear' must be a JSON object"),
        ({"rope_scaling": []}, r"rope_scaling = \[\] must be a JSON object or null"),
        *(({"rope_theta": x}, f"rope_theta = {x!r} must be a positive") for x in BAD_NUMBERS),
        ({"rope_parameters": {"rope_theta": None}}, "rope_theta = None must be a positive number"),
        ({"rope_scaling": {"rope_type": ["linear"], "factor": 4.0}}, r"scaling \['linear'\]"),
        ({"rope_scaling": {"rope_type": None, "factor": 4.0}}, "rope scaling None"),
        ({"rope_scaling": {"rope_type": "linear"}}, "'linear' with {} .* its options are factor"),
        *(
            ({"rope_scaling": {"type": "linear", "factor": x}}, f"'linear': factor = {x!r} must be")
            for x in BAD_NUMBERS
        ),
        (llama3(factor=0), "'llama3': factor = 0 must be a positive number"),
        (llama3(low_freq_factor="x"), "low_freq_factor = 'x' must be a positive number"),
        (llama3(low_freq_factor=4.0), "low_freq_factor = 4.0 must be below high_freq_factor = 4.0"),
        (llama3(low_freq_factor=5.0), "low_freq_factor = 5.0 must be below high_freq_factor = 4.0"),
        (llama3(original_max_position_embeddings=0.5), "embeddings = 0.5 must be a positive whole"),
        (
            {"rope_scaling": {"rope_type": "llama3", "factor": 8.0}},
            "its options are factor, high_freq_factor, low_freq_factor, original_max_position",
        ),
    ],
)
def test_what_the_decoder_does_not_compute_is_refused_by_name(change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ModelConfig.from_hf(TINY.to_hf() | change)


@pytest.mark.parametrize("window", [{"use_sliding_window": True}, {"layer_types": ["sliding"]}])
def test_a_qwen_window_is_refused_only_when_used(window: dict) -> None:
    hf = VARIANTS["bias"].to_hf() | {"sliding_window": 4096, "use_sliding_window": False}
    assert ModelConfig.from_hf(hf) == VARIANTS["bias"]
    with pytest.raises(ValueError, match="sliding_window = 4096"):
        ModelConfig.from_hf(hf | window)


def test_key_value_heads_are_left_out_by_llama_alone() -> None:
    hf = TINY.to_hf()
    del hf["num_key_value_heads"]
    assert ModelConfig.from_hf(hf) == replace(TINY, num_kv_heads=TINY.num_heads)
    for other in (MISTRAL | {"sliding_window": None}, QWEN3, QWEN3 | {"model_type": "qwen2"}):
        with pytest.raises(ValueError, match="lacks num_key_value_heads"):
            ModelConfig.from_hf(hf | other)
        assert ModelConfig.from_hf(hf | other | {"num_key_value_heads": None}).num_kv_heads == 4


def test_missing_sizes_are_named() -> None:
    hf = TINY.to_hf()
    del hf["hidden_size"], hf["rms_norm_eps"]
    with pytest.raises(ValueError, match="lacks hidden_size, rms_norm_eps"):
        ModelConfig.from_hf(hf)


def test_rope_frequencies_are_the_scaled_geometric_series() -> None:
    plain = np.array([1.0, 0.1, 0.01, 0.001])
    np.testing.assert_allclose(inverse_frequencies(8, 1e4, None), plain, rtol=1e-6)
    linear = inverse_frequencies(8, 1e4, LinearRope(factor=4.0))
    np.testing.assert_allclose(linear, plain / 4, rtol=1e-6)
    # 64 positions hold 10.19, 1.019, 0.1 and 0.01 wavelengths: kept, on the ramp, divided, divided.
    kept = (64 * 0.1 / (2 * np.pi) - 1.0) / (4.0 - 1.0)
    expected = [1.0, 0.1 * (kept + (1 - kept) / 8), 0.01 / 8, 0.001 / 8]
    np.testing.assert_allclose(inverse_frequencies(8, 1e4, LLAMA3), jnp.array(expected), rtol=1e-5)
