"""What a model is: its sizes and options. One record covers the whole Llama family."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from stepcoder_jax.model import hf_config
from stepcoder_jax.model.rope_frequencies import RopeScaling


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """Sizes and options of a decoder.

    Attributes:
        vocab_size: V, rows of the embedding.
        hidden_size: D, width of the residual stream.
        num_layers: L.
        num_heads: N, query heads.
        num_kv_heads: K, key and value heads; divides ``num_heads``.
        head_dim: H, channels of one head; even, because rope rotates pairs.
        intermediate_size: width of the gated feed-forward.
        max_position_embeddings: longest sequence the model was trained for, in tokens.
        rope_theta: base of the rope frequencies.
        rope_scaling: how rope is stretched over a longer context, or None.
        rms_norm_eps: added to the mean square before the root.
        tie_word_embeddings: logits reuse the embedding matrix.
        attention_bias: the q, k and v projections (not the output one) have biases (Qwen2).
        qk_norm: queries and keys are normalised per head before rope (Qwen3).
    """

    vocab_size: int
    hidden_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    intermediate_size: int
    max_position_embeddings: int
    rope_theta: float = 10_000.0
    rope_scaling: RopeScaling | None = None
    rms_norm_eps: float = 1e-6
    tie_word_embeddings: bool = True
    attention_bias: bool = False
    qk_norm: bool = False

    def __post_init__(self) -> None:
        if self.num_heads % self.num_kv_heads:
            raise ValueError(
                f"num_heads = {self.num_heads} must be a multiple of "
                f"num_kv_heads = {self.num_kv_heads}"
            )
        if self.head_dim % 2:
            raise ValueError(f"head_dim = {self.head_dim} must be even: rope rotates pairs")
        if self.attention_bias and self.qk_norm:
            raise ValueError(
                "attention_bias and qk_norm together belong to no supported architecture; "
                "set at most one of them"
            )

    @classmethod
    def from_hf(cls, hf: Mapping[str, Any]) -> ModelConfig:
        """Read the content of a Hugging Face ``config.json``.

        Args:
            hf: the parsed JSON object; ``model_type`` is llama, qwen2, qwen3 or mistral.

        Raises:
            ValueError: an architecture, an option or an option's value that this decoder does not
                compute exactly, by name; or a size that is missing.
        """
        return cls(**hf_config.read(hf))

    def to_hf(self) -> dict[str, Any]:
        """Return a ``config.json`` object that transformers and vLLM read as this same model."""
        return hf_config.write(self)


SHAPES: Mapping[str, ModelConfig] = {
    "tiny-test": ModelConfig(
        vocab_size=13,
        hidden_size=16,
        num_layers=1,
        num_heads=4,
        num_kv_heads=2,
        head_dim=4,
        intermediate_size=32,
        max_position_embeddings=128,
    ),
    "quickstart": ModelConfig(
        vocab_size=1024,
        hidden_size=128,
        num_layers=4,
        num_heads=4,
        num_kv_heads=4,
        head_dim=32,
        intermediate_size=384,
        max_position_embeddings=512,
    ),
    "small": ModelConfig(
        vocab_size=4096,
        hidden_size=256,
        num_layers=6,
        num_heads=8,
        num_kv_heads=4,
        head_dim=32,
        intermediate_size=1024,
        max_position_embeddings=2048,
    ),
    "smollm2-135m": ModelConfig(
        vocab_size=49_152,
        hidden_size=576,
        num_layers=30,
        num_heads=9,
        num_kv_heads=3,
        head_dim=64,
        intermediate_size=1536,
        max_position_embeddings=8192,
        rope_theta=100_000.0,
        rms_norm_eps=1e-5,
    ),
    "qwen2.5-coder-1.5b": ModelConfig(
        vocab_size=151_936,
        hidden_size=1536,
        num_layers=28,
        num_heads=12,
        num_kv_heads=2,
        head_dim=128,
        intermediate_size=8960,
        max_position_embeddings=32_768,
        rope_theta=1_000_000.0,
        attention_bias=True,
    ),
}
