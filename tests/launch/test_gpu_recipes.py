"""The recipes for one GPU are whole, and of the kind that gpu_host.sh sets up."""

import json

import pytest
from launch_scripts import ROOT

from stepcoder_jax.model.config import ModelConfig
from stepcoder_jax.recipe import load_config

MODELS = {
    "smollm2_135m": "smollm2-135m",
    "qwen2.5_coder_1.5b": "qwen2.5-coder-1.5b",
}


def test_each_recipe_is_known_here():
    assert {file.stem for file in (ROOT / "configs" / "gpu").iterdir()} == set(MODELS)


@pytest.mark.parametrize("name", MODELS)
def test_a_recipe_can_be_read_and_uses_cudnn_as_cudnn_can_be_used(name):
    config = load_config(ROOT / "configs" / "gpu" / f"{name}.yaml")
    assert config.model.attention == "cudnn"
    assert config.model.dtype == "bfloat16"
    file = ROOT / "configs" / "models" / MODELS[name] / "config.json"
    model = ModelConfig.from_hf(json.loads(file.read_text()))
    # What docs/attention.md asks for on every GPU.
    assert model.head_dim % 8 == 0
    assert model.head_dim <= 128


@pytest.mark.parametrize("name", MODELS)
def test_every_row_fits_and_is_shared_out_evenly(name):
    config = load_config(ROOT / "configs" / "gpu" / f"{name}.yaml")
    longest = config.rollout.prompt_buckets[-1] + config.sampling.max_new_tokens
    assert config.rollout.row_buckets[-1] == longest
    assert config.rows % (config.ppo.minibatches * config.ppo.microbatches) == 0
    assert config.rows % config.sampling.slots == 0
