"""GGUF files in: llama.cpp's metadata and (quantised) tensors, translated to Hugging Face terms."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGMLQuantizationType, GGUFReader
from gguf.quants import dequantize

from stepcoder_jax.model.config import ModelConfig
from stepcoder_jax.model.weights import ModelLoadError

QUANTISATIONS = frozenset({"F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q4_K", "Q6_K"})

_ARCHITECTURES = ("llama", "qwen2", "qwen3")

_OPTIONS: Mapping[str, str] = {
    "block_count": "num_hidden_layers",
    "context_length": "max_position_embeddings",
    "embedding_length": "hidden_size",
    "feed_forward_length": "intermediate_size",
    "attention.head_count": "num_attention_heads",
    "attention.head_count_kv": "num_key_value_heads",
    "attention.key_length": "head_dim",
    "attention.layer_norm_rms_epsilon": "rms_norm_eps",
    "rope.freq_base": "rope_theta",
}

_SCALING_OPTIONS = ("rope.scaling.type", "rope.scaling.factor")

# Sizes that follow from the options above; checked against them, not read.
_IMPLIED = ("vocab_size", "rope.dimension_count", "attention.value_length")

_TENSORS: Mapping[str, str] = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "output": "lm_head",
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


class GGUFFile:
    """An open GGUF file: its metadata, and its tensors under Hugging Face names."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._reader = GGUFReader(path)
        except (OSError, ValueError, IndexError) as error:
            raise ModelLoadError(f"{path}: not a readable GGUF file: {error}") from error
        self.metadata: Mapping[str, Any] = {
            key: field.contents() for key, field in self._reader.fields.items()
        }

    def config(self) -> ModelConfig:
        """Return the model's config.

        Raises:
            ModelLoadError: an architecture or option that the decoder does not compute, by name.
        """
        try:
            return ModelConfig.from_hf(self._hf_config())
        except ValueError as error:
            raise ModelLoadError(f"{self.path}: {error}") from error

    def _hf_config(self) -> dict[str, Any]:
        architecture = self.metadata.get("general.architecture")
        if architecture not in _ARCHITECTURES:
            raise ValueError(
                f"general.architecture = {architecture!r} is not supported; "
                f"allowed: {', '.join(_ARCHITECTURES)}"
            )
        options = {
            key.removeprefix(f"{architecture}."): value
            for key, value in self.metadata.items()
            if key.startswith(f"{architecture}.")
        }
        unknown = options.keys() - {*_OPTIONS, *_SCALING_OPTIONS, *_IMPLIED}
        if unknown:
            name = min(unknown)
            raise ValueError(f"option {architecture}.{name} = {options[name]!r} is not supported")
        names = {tensor.name for tensor in self._reader.tensors}
        hf = {theirs: options[ours] for ours, theirs in _OPTIONS.items() if ours in options}
        hf |= {
            "model_type": architecture,
            "vocab_size": len(self.metadata["tokenizer.ggml.tokens"]),
            "tie_word_embeddings": "output.weight" not in names,
            "rope_scaling": _rope_scaling(options),
        }
        _check_implied(options, hf)
        return hf

    def tensors(self, config: ModelConfig) -> Iterator[tuple[str, np.ndarray]]:
        """Yield Hugging Face name and float32 content of every tensor, dequantised.

        Raises:
            ModelLoadError: a tensor that is unknown, or stored in a quantisation we do not read.
        """
        is_llama = self.metadata["general.architecture"] == "llama"
        for tensor in self._reader.tensors:
            kind = GGMLQuantizationType(tensor.tensor_type)
            if kind.name not in QUANTISATIONS:
                raise ModelLoadError(
                    f"{self.path}: tensor {tensor.name!r} is stored as {kind.name}; "
                    f"allowed: {', '.join(sorted(QUANTISATIONS))}"
                )
            content = dequantize(tensor.data, kind).astype(np.float32)
            name = self._hf_name(tensor.name)
            if is_llama and "self_attn.q_proj" in name:
                content = _undo_interleaving(content, config.num_heads)
            if is_llama and "self_attn.k_proj" in name:
                content = _undo_interleaving(content, config.num_kv_heads)
            yield name, content

    def _hf_name(self, name: str) -> str:
        match = re.fullmatch(r"(?:blk\.(\d+)\.)?(\w+)\.(weight|bias)", name)
        if match is None or match[2] not in _TENSORS:
            raise ModelLoadError(f"{self.path}: tensor {name!r} is unknown")
        layer, part, kind = match.groups()
        prefix = "" if layer is None else f"model.layers.{layer}."
        return f"{prefix}{_TENSORS[part]}.{kind}"


def _rope_scaling(options: Mapping[str, Any]) -> dict[str, Any] | None:
    kind = options.get("rope.scaling.type", "none")
    if kind == "none":
        return None
    return {"rope_type": kind, "factor": options.get("rope.scaling.factor")}


def _check_implied(options: Mapping[str, Any], hf: Mapping[str, Any]) -> None:
    head_dim = hf.get("head_dim") or hf["hidden_size"] // hf["num_attention_heads"]
    implied = dict.fromkeys(_IMPLIED, head_dim) | {"vocab_size": hf["vocab_size"]}
    for name, expected in implied.items():
        if options.get(name, expected) != expected:
            raise ValueError(f"{name} = {options[name]} is not supported; expected {expected}")


def _undo_interleaving(tensor: np.ndarray, heads: int) -> np.ndarray:
    """Return rows in rope's halves layout.

    llama.cpp rotates neighbouring channels, so its converter interleaves the two halves of every
    head of Llama's q and k.
    """
    pairs = tensor.reshape(heads, -1, 2, *tensor.shape[1:])
    return np.ascontiguousarray(pairs.swapaxes(1, 2)).reshape(tensor.shape)
