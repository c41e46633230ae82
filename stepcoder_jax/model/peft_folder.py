"""Adapters out: a folder that PEFT, and what reads its format (vLLM), load on to the base model."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from stepcoder_jax.config import LoRAConfig
from stepcoder_jax.model.config import ModelConfig
from stepcoder_jax.model.decoder import Params
from stepcoder_jax.model.lora import TARGETS

CONFIG_FILE = "adapter_config.json"
WEIGHTS_FILE = "adapter_model.safetensors"

# Our blocks of a layer by the names of the torch modules.
_BLOCKS = {"attention": "self_attn", "mlp": "mlp"}


def save_peft(
    path: str | Path,
    config: ModelConfig,
    lora: LoRAConfig,
    adapters: Params,
    base: str | Path,
    *,
    dtype: str = "float32",
) -> None:
    """Write adapters.

    Args:
        config: the model that they were trained on.
        base: where PEFT is told to find that model; its user may name another place.
        dtype: of the adapters in the file: float32, which is exact, or bfloat16.
    """
    folder = Path(path)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CONFIG_FILE).write_text(json.dumps(_peft_config(lora, base), indent=2) + "\n")
    tensors = {name: tensor.astype(dtype) for name, tensor in peft_tensors(config, lora, adapters)}
    save_file(tensors, folder / WEIGHTS_FILE, metadata={"format": "pt"})


def peft_tensors(
    config: ModelConfig, lora: LoRAConfig, adapters: Params
) -> Iterator[tuple[str, np.ndarray]]:
    """Yield name and content of PEFT's tensors: lora_A is [r, in] and lora_B [out, r]."""
    for name in lora.targets:
        block, layer = TARGETS[name].path
        pair = adapters["layers"][block][layer]
        a, b = np.asarray(pair["a"]), np.asarray(pair["b"])
        for number in range(config.num_layers):
            module = f"base_model.model.model.layers.{number}.{_BLOCKS[block]}.{name}"
            transposed = a[number].reshape(-1, lora.rank).T, b[number].reshape(lora.rank, -1).T
            for letter, tensor in zip("AB", transposed, strict=True):
                yield f"{module}.lora_{letter}.weight", np.ascontiguousarray(tensor)


def _peft_config(lora: LoRAConfig, base: str | Path) -> dict[str, object]:
    return {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": str(base),
        "inference_mode": True,
        "r": lora.rank,
        "lora_alpha": lora.alpha,
        "target_modules": sorted(lora.targets),
        "lora_dropout": 0.0,
        "bias": "none",
        "fan_in_fan_out": False,
        "use_rslora": False,
    }
