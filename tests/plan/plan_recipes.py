"""A recipe and a model so small that its programs compile in seconds."""

from dataclasses import replace

from stepcoder_jax.config import (
    MeshConfig,
    ModelSettings,
    RolloutConfig,
    RunConfig,
    SamplingConfig,
)
from stepcoder_jax.model.config import SHAPES

MODEL = replace(SHAPES["tiny-test"], num_layers=3, vocab_size=64, hidden_size=32)


def recipe(*, data: int = -1, fsdp: int = 1, tensor: int = 1) -> RunConfig:
    """Sixteen rows of 32 tokens."""
    return RunConfig(
        iterations=1,
        model=ModelSettings(shape="tiny-test", vocab_size=13, logprob_chunk_tokens=4096),
        mesh=MeshConfig(data=data, fsdp=fsdp, tensor=tensor),
        rollout=RolloutConfig(problems=4, samples=4, prompt_buckets=(16,)),
        sampling=SamplingConfig(max_new_tokens=16, slots=8, prefill_prompts=4),
    )
