"""GGUF files as llama.cpp's converter writes them, from our parameters."""

import json
from pathlib import Path

import gguf
import numpy as np
from gguf import GGMLQuantizationType, GGUFWriter
from gguf.quants import quantize

from stepcoder_jax.model.config import ModelConfig
from stepcoder_jax.model.rope_frequencies import LinearRope
from stepcoder_jax.model.tokenizer import Tokenizer
from stepcoder_jax.model.weights import hf_tensors

NAMES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def gguf_name(name: str) -> str:
    module, kind = name.rsplit(".", 1)
    if module in NAMES:
        return f"{NAMES[module]}.{kind}"
    _, _, layer, part = module.split(".", 3)
    return f"blk.{layer}.{NAMES[part]}.{kind}"


def interleaved(tensor: np.ndarray, heads: int) -> np.ndarray:
    """What llama.cpp's converter does to Llama's q and k: halves of a head to neighbours."""
    return tensor.reshape(heads, 2, -1, tensor.shape[1]).swapaxes(1, 2).reshape(tensor.shape)


def open_writer(
    path: Path,
    config: ModelConfig,
    tokenizer: Tokenizer,
    arch: str,
    endianess: gguf.GGUFEndian = gguf.GGUFEndian.LITTLE,
) -> GGUFWriter:
    writer = GGUFWriter(path, arch, endianess=endianess)
    writer.add_block_count(config.num_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_heads)
    writer.add_head_count_kv(config.num_kv_heads)
    writer.add_key_length(config.head_dim)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_theta)
    if isinstance(config.rope_scaling, LinearRope):
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(config.rope_scaling.factor)
    vocabulary = sorted(tokenizer.get_vocab(), key=tokenizer.get_vocab().__getitem__)
    vocabulary += [f"<unused{i}>" for i in range(config.vocab_size - len(vocabulary))]
    special = set(tokenizer.all_special_tokens)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(vocabulary)
    writer.add_token_types([3 if token in special else 1 for token in vocabulary])
    writer.add_token_merges(merges_of(tokenizer))
    writer.add_eos_token_id(tokenizer.eos_token_id)
    writer.add_pad_token_id(tokenizer.pad_token_id)
    writer.add_chat_template("{{ messages[0]['content'] }}")
    return writer


def merges_of(tokenizer: Tokenizer) -> list[str]:
    merges = json.loads(tokenizer.backend_tokenizer.to_str())["model"]["merges"]
    return [" ".join(pair) for pair in merges]


def finish(writer: GGUFWriter) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def write_gguf(
    path: Path, config: ModelConfig, params: dict, tokenizer: Tokenizer, arch: str, **kinds: str
) -> None:
    """Write ``params``; ``kinds`` gives the storage of a tensor by GGUF module name."""
    writer = open_writer(path, config, tokenizer, arch)
    add_params(writer, config, params, arch, **kinds)
    finish(writer)


def add_params(
    writer: GGUFWriter, config: ModelConfig, params: dict, arch: str, **kinds: str
) -> None:
    for name, tensor in hf_tensors(config, params):
        if arch == "llama" and "q_proj" in name:
            tensor = interleaved(tensor, config.num_heads)
        if arch == "llama" and "k_proj" in name:
            tensor = interleaved(tensor, config.num_kv_heads)
        name = gguf_name(name)
        kind = GGMLQuantizationType[kinds.get(name.split(".")[-2], "F32")]
        writer.add_tensor(name, quantize(tensor, kind), raw_dtype=kind)
