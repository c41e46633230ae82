"""GGUF files in: llama.cpp's metadata and (quantised) tensors, translated to Hugging Face terms."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, GGUFEndian, GGUFReader
from gguf.quants import dequantize

from stepcoder_jax.model.config import ModelConfig
from stepcoder_jax.model.gguf_rope import DIVISORS, SCALING_OPTIONS, rope_scaling, with_divisors
from stepcoder_jax.model.metadata_values import names, positive_number, whole_number
from stepcoder_jax.model.source import StoredTensor
from stepcoder_jax.model.weights import Index, ModelLoadError

# Rows dequantised at once: gguf's own arrays for it are several times as large as the result.
_ROWS = 4096

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

_NUMBERS = ("attention.layer_norm_rms_epsilon", "rope.freq_base")

_NEEDED = (
    "block_count",
    "context_length",
    "embedding_length",
    "feed_forward_length",
    "attention.head_count",
    "attention.layer_norm_rms_epsilon",
)

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
    """A GGUF file: its metadata, and its tensors under Hugging Face names, read on demand.

    Raises:
        ModelLoadError: not a whole GGUF file.
    """

    dtypes = frozenset({"F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q4_K", "Q6_K"})

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            reader = GGUFReader(path)
        except (OSError, ValueError, IndexError, KeyError) as error:
            raise ModelLoadError(f"{path}: not a readable GGUF file: {error}") from error
        if reader.endianess != GGUFEndian.LITTLE:
            raise ModelLoadError(
                f"{path}: a big-endian GGUF file; only little-endian ones are read"
            )
        self.metadata: Mapping[str, Any] = {
            key: field.contents() for key, field in reader.fields.items()
        }
        # llama.cpp writes 0 where it has joined them.
        parts = self.metadata.get("split.count", 0)
        if parts > 1:
            raise ModelLoadError(
                f"{path}: one of {parts} files of a model (split.count); only whole ones are read:"
                " llama.cpp's llama-gguf-split --merge joins them"
            )
        self.tensors: dict[str, StoredTensor] = {}
        self._offsets: dict[str, int] = {}
        self._rope_divisors: np.ndarray | None = None
        for tensor in reader.tensors:
            if tensor.name == DIVISORS:
                self._rope_divisors = np.array(tensor.data)
                continue
            name = _hf_name(tensor.name)
            # GGUF writes the fastest axis first.
            shape = tuple(int(size) for size in reversed(tensor.shape))
            kind = GGMLQuantizationType(tensor.tensor_type).name
            self.tensors[name] = StoredTensor(file=path, name=tensor.name, shape=shape, dtype=kind)
            self._offsets[name] = int(tensor.data_offset)

    def config(self) -> ModelConfig:
        """Return the model's config.

        Raises:
            ModelLoadError: an architecture or option that the decoder does not compute, by name.
        """
        try:
            architecture = self._architecture()
            options = self._options(architecture)
            config = ModelConfig.from_hf(self._hf_config(architecture, options))
            _check_implied(options, config)
            if self._rope_divisors is not None:
                config = with_divisors(architecture, config, self._rope_divisors)
            return config
        except ValueError as error:
            raise ModelLoadError(f"{self.path}: {error}") from error

    def _architecture(self) -> str:
        architecture = self.metadata.get("general.architecture")
        if architecture not in _ARCHITECTURES:
            raise ValueError(
                f"general.architecture = {architecture!r} is not supported; "
                f"allowed: {', '.join(_ARCHITECTURES)}"
            )
        return architecture

    def _options(self, architecture: str) -> dict[str, Any]:
        """The model's options by their names in ``_OPTIONS`` and beside it, checked one by one."""
        options = {
            key.removeprefix(f"{architecture}."): value
            for key, value in self.metadata.items()
            if key.startswith(f"{architecture}.")
        }
        unknown = options.keys() - {*_OPTIONS, *SCALING_OPTIONS, *_IMPLIED}
        if unknown:
            name = min(unknown)
            raise ValueError(f"option {architecture}.{name} = {options[name]!r} is not supported")
        missing = [f"{architecture}.{name}" for name in _NEEDED if name not in options]
        if "tokenizer.ggml.tokens" not in self.metadata:
            missing.append("tokenizer.ggml.tokens")
        if missing:
            raise ValueError(f"lacks {', '.join(missing)}")
        for name in (name for name in _OPTIONS if name in options):
            check = positive_number if name in _NUMBERS else whole_number
            check(f"{architecture}.{name}", options[name])
        return options

    def _hf_config(self, architecture: str, options: Mapping[str, Any]) -> dict[str, Any]:
        hf = {theirs: options[ours] for ours, theirs in _OPTIONS.items() if ours in options}
        tokens = names("tokenizer.ggml.tokens", self.metadata["tokenizer.ggml.tokens"])
        return hf | {
            "model_type": architecture,
            "vocab_size": len(tokens),
            "tie_word_embeddings": "lm_head.weight" not in self.tensors,
            "rope_scaling": rope_scaling(architecture, options),
        }

    def read(self, name: str, index: Index) -> np.ndarray:
        """Return a block of a tensor in float32, dequantised, in rope's halves layout.

        Only the rows of the block are read; they are mapped no longer than the call.
        """
        stored = self.tensors[name]
        kind = GGMLQuantizationType[stored.dtype]
        block_items, block_bytes = GGML_QUANT_SIZES[kind]
        *rows, items = (1, *stored.shape)[-2:]
        table = np.memmap(
            self.path,
            mode="r",
            offset=self._offsets[name],
            shape=(*rows, items // block_items * block_bytes),
        )
        wanted = self._stored_rows(name, rows[0])[index[0] if len(index) == 2 else slice(None)]
        block = np.empty((len(wanted), index[-1].stop - index[-1].start), np.float32)
        for start in range(0, len(wanted), _ROWS):
            part = slice(start, start + _ROWS)
            block[part] = dequantize(np.asarray(table[wanted[part]]), kind)[:, index[-1]]
        return block if len(index) == 2 else block[0]

    def _stored_rows(self, name: str, rows: int) -> np.ndarray:
        """Where each row of a Hugging Face tensor is in the file.

        llama.cpp rotates neighbouring channels, so its converter interleaves the two halves of
        every head of Llama's q and k.
        """
        order = np.arange(rows)
        heads = self._interleaved_heads(name)
        return order if heads is None else order.reshape(heads, -1, 2).swapaxes(1, 2).ravel()

    def _interleaved_heads(self, name: str) -> int | None:
        if self.metadata["general.architecture"] != "llama":
            return None
        queries = self.metadata["llama.attention.head_count"]
        if name.endswith("q_proj.weight"):
            return queries
        if name.endswith("k_proj.weight"):
            return self.metadata.get("llama.attention.head_count_kv", queries)
        return None


def _hf_name(name: str) -> str:
    match = re.fullmatch(r"(?:blk\.(\d+)\.)?(\w+)\.(weight|bias)", name)
    if match is None or match[2] not in _TENSORS:
        # A name that no model has: refused when the tensors are held against the config.
        return f"gguf/{name}"
    layer, part, kind = match.groups()
    prefix = "" if layer is None else f"model.layers.{layer}."
    return f"{prefix}{_TENSORS[part]}.{kind}"


def _check_implied(options: Mapping[str, Any], config: ModelConfig) -> None:
    implied = dict.fromkeys(_IMPLIED, config.head_dim) | {"vocab_size": config.vocab_size}
    for name, expected in implied.items():
        if options.get(name, expected) != expected:
            raise ValueError(f"{name} = {options[name]} is not supported; expected {expected}")
