"""The config.json of published models: read to the published size, or refused with a reason.

The fixture was typed by hand from what the hub shows, without fields that only name a version.
"""

import json
import math
from pathlib import Path

import jax
import pytest

from stepcoder_jax.model.config import ModelConfig
from stepcoder_jax.model.rope_frequencies import LinearRope, Llama3Rope, RopeScaling
from stepcoder_jax.model.weights import policy_shapes, tensor_places

CONFIGS = json.loads(
    (Path(__file__).parent.parent / "fixtures" / "published_configs.json").read_text()
)

# Parameters, a tied head counted once.
TOTALS = {
    "HuggingFaceTB/SmolLM2-135M": 134_515_008,
    "HuggingFaceTB/SmolLM2-135M-Instruct": 134_515_008,
    "meta-llama/Llama-2-7b-hf": 6_738_415_616,
    "meta-llama/Llama-3.1-8B": 8_030_261_248,
    "meta-llama/Llama-3.2-1B": 1_235_814_400,
    "deepseek-ai/deepseek-coder-1.3b-instruct": 1_346_471_936,
    "deepseek-ai/deepseek-coder-6.7b-instruct": 6_740_512_768,
    "mistralai/Mistral-7B-v0.3": 7_248_023_552,
    "Qwen/Qwen2.5-Coder-1.5B": 1_543_714_304,
    "Qwen/Qwen2.5-Coder-32B-Instruct": 32_763_876_352,
    # The file holds 751,632,384: it repeats the embedding as a head.
    "Qwen/Qwen3-0.6B": 596_049_920,
}

REFUSED = {"mistralai/Mistral-7B-v0.1": "sliding_window = 4096 .* only full causal attention is"}


def llama3(factor: float) -> Llama3Rope:
    return Llama3Rope(
        factor=factor,
        low_freq_factor=1.0,
        high_freq_factor=4.0,
        original_max_position_embeddings=8192,
    )


def test_every_config_has_an_expectation() -> None:
    assert CONFIGS.keys() == TOTALS.keys() | REFUSED.keys()


@pytest.mark.parametrize("name", TOTALS)
def test_a_published_model_has_its_published_size(name: str) -> None:
    config = ModelConfig.from_hf(CONFIGS[name])
    shapes = jax.tree.leaves(policy_shapes(config))
    assert sum(math.prod(leaf.shape) for leaf in shapes) == TOTALS[name]
    assert sum(math.prod(x.hf_shape) for x in tensor_places(config).values()) == TOTALS[name]
    assert ModelConfig.from_hf(config.to_hf()) == config


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_computed_exactly_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=REFUSED[name]):
        ModelConfig.from_hf(CONFIGS[name])


@pytest.mark.parametrize(
    ("name", "theta", "scaling"),
    [
        ("HuggingFaceTB/SmolLM2-135M", 1e5, None),
        ("meta-llama/Llama-2-7b-hf", 1e4, None),
        ("meta-llama/Llama-3.1-8B", 5e5, llama3(8.0)),
        ("meta-llama/Llama-3.2-1B", 5e5, llama3(32.0)),
        ("deepseek-ai/deepseek-coder-6.7b-instruct", 1e5, LinearRope(factor=4.0)),
        ("mistralai/Mistral-7B-v0.3", 1e6, None),
        ("Qwen/Qwen2.5-Coder-1.5B", 1e6, None),
        ("Qwen/Qwen3-0.6B", 1e6, None),
    ],
)
def test_positions_are_rotated_as_published(
    name: str, theta: float, scaling: RopeScaling | None
) -> None:
    config = ModelConfig.from_hf(CONFIGS[name])
    assert (config.rope_theta, config.rope_scaling) == (theta, scaling)
