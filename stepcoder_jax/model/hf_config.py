"""Hugging Face ``config.json`` objects to model fields and back; every key is read or refused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from stepcoder_jax.model import hf_rope
from stepcoder_jax.model.metadata_values import names, positive_number, switch, whole_number

if TYPE_CHECKING:
    from stepcoder_jax.model.config import ModelConfig

ARCHITECTURES: Mapping[str, str] = {
    "llama": "LlamaForCausalLM",
    "mistral": "MistralForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
}

_REQUIRED: Mapping[str, str] = {
    "vocab_size": "vocab_size",
    "hidden_size": "hidden_size",
    "num_hidden_layers": "num_layers",
    "num_attention_heads": "num_heads",
    "intermediate_size": "intermediate_size",
    "max_position_embeddings": "max_position_embeddings",
    "rms_norm_eps": "rms_norm_eps",
}

_SIZES = (*(key for key in _REQUIRED if key != "rms_norm_eps"), "num_key_value_heads", "head_dim")

_READ = frozenset(
    {
        *_REQUIRED,
        "model_type",
        "architectures",
        "num_key_value_heads",
        "head_dim",
        "tie_word_embeddings",
        "rope_theta",
        "rope_scaling",
        "rope_parameters",
        "layer_types",
        "sliding_window",
        "use_sliding_window",
    }
)

# Options that would change the function computed: only the values this decoder implements pass.
_ONLY: Mapping[str, tuple[Any, ...]] = {
    "hidden_act": ("silu",),
    "mlp_bias": (False,),
    "attention_bias": (False,),
    "attention_dropout": (0, None),
    "rope_interleaved": (False,),
    "use_mrope": (False,),
    "partial_rotary_factor": (1, None),
    "quantization_config": (None,),
    "is_encoder_decoder": (False,),
    "add_cross_attention": (False,),
}

# Token ids belong to the tokenizer; the rest describes how the file was made or how torch runs it.
_IRRELEVANT = frozenset(
    {
        "_name_or_path",
        "bos_token_id",
        "chunk_size_feed_forward",
        "dtype",
        "eos_token_id",
        "id2label",
        "initializer_range",
        "is_decoder",
        "is_llama_config",
        "label2id",
        "max_window_layers",
        "output_attentions",
        "output_hidden_states",
        "pad_token_id",
        "pretraining_tp",
        "problem_type",
        "return_dict",
        "torch_dtype",
        "transformers.js_config",
        "transformers_version",
        "unsloth_fixed",
        "unsloth_version",
        "use_cache",
    }
)


def read(hf: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of ``ModelConfig`` that ``hf`` stands for.

    Raises:
        ValueError: naming the option, its value and what is allowed.
    """
    model_type = _architecture(hf)
    _refuse_unknown(hf)
    _refuse_window(hf, model_type)
    missing = [key for key in _REQUIRED if key not in hf]
    if missing:
        raise ValueError(f"config.json lacks {', '.join(missing)}")
    _refuse_sizes(hf)
    fields = {ours: hf[theirs] for theirs, ours in _REQUIRED.items()}
    theta, scaling = hf_rope.read(hf)
    return fields | {
        "num_kv_heads": _kv_heads(hf, model_type),
        "head_dim": _head_dim(hf, model_type),
        "tie_word_embeddings": switch("tie_word_embeddings", hf.get("tie_word_embeddings", False)),
        "rope_theta": theta,
        "rope_scaling": scaling,
        "attention_bias": model_type == "qwen2",
        "qk_norm": model_type == "qwen3",
    }


def write(config: ModelConfig) -> dict[str, Any]:
    """Return a ``config.json`` object; Mistral without its window is written as the Llama it is.

    Rope is written in the older flat form, which every transformers release and vLLM read.
    """
    model_type = "qwen2" if config.attention_bias else "qwen3" if config.qk_norm else "llama"
    sizes = {theirs: getattr(config, ours) for theirs, ours in _REQUIRED.items()}
    return sizes | {
        "model_type": model_type,
        "architectures": [ARCHITECTURES[model_type]],
        "num_key_value_heads": config.num_kv_heads,
        "head_dim": config.head_dim,
        "hidden_act": "silu",
        "tie_word_embeddings": config.tie_word_embeddings,
        "rope_theta": config.rope_theta,
        "rope_scaling": hf_rope.write(config.rope_scaling),
        "torch_dtype": "float32",
    }


def _architecture(hf: Mapping[str, Any]) -> str:
    model_type = hf.get("model_type", "")
    if not isinstance(model_type, str) or model_type not in ARCHITECTURES:
        raise ValueError(
            f"model_type = {model_type!r} is not supported; allowed: {', '.join(ARCHITECTURES)}"
        )
    named = names("architectures", hf.get("architectures")) or [ARCHITECTURES[model_type]]
    if named != [ARCHITECTURES[model_type]]:
        raise ValueError(
            f"architectures = {named!r} is not supported for model_type {model_type!r}; "
            f"allowed: [{ARCHITECTURES[model_type]!r}]"
        )
    return model_type


def _refuse_unknown(hf: Mapping[str, Any]) -> None:
    for key, value in hf.items():
        if key in _ONLY and value not in _ONLY[key]:
            allowed = " or ".join(repr(choice) for choice in _ONLY[key])
            raise ValueError(f"{key} = {value!r} is not supported; allowed: {allowed}")
        if key not in _READ and key not in _ONLY and key not in _IRRELEVANT:
            raise ValueError(
                f"{key} = {value!r}: this option of config.json is unknown to the decoder; "
                "remove it if it does not change what the model computes"
            )


def _refuse_sizes(hf: Mapping[str, Any]) -> None:
    for key in _SIZES:
        if hf.get(key) is not None:
            whole_number(key, hf[key])
        elif key in _REQUIRED:
            raise ValueError(f"config.json lacks {key}: it is null")
    positive_number("rms_norm_eps", hf["rms_norm_eps"])


def _refuse_window(hf: Mapping[str, Any], model_type: str) -> None:
    # Where the file has no window, transformers reads 4096, and Mistral has no switch for it.
    window = hf.get("sliding_window", None if model_type == "llama" else 4096)
    is_used = switch("use_sliding_window", hf.get("use_sliding_window", False))
    has_window = model_type in ("llama", "mistral") or is_used
    layer_types = set(names("layer_types", hf.get("layer_types")))
    if (has_window and window is not None) or layer_types - {"full_attention"}:
        raise ValueError(
            f"sliding_window = {window!r} (layer_types {sorted(layer_types)}) is not supported; "
            "only full causal attention is: sliding_window null or use_sliding_window false"
        )


def _kv_heads(hf: Mapping[str, Any], model_type: str) -> int:
    # Where the file has none, transformers reads a number of its own: 8 or 32.
    if "num_key_value_heads" not in hf and model_type != "llama":
        raise ValueError("config.json lacks num_key_value_heads")
    heads = hf.get("num_key_value_heads")
    return hf["num_attention_heads"] if heads is None else heads


def _head_dim(hf: Mapping[str, Any], model_type: str) -> int:
    if hf.get("head_dim") is not None:
        return hf["head_dim"]
    if model_type == "qwen3":
        raise ValueError("config.json lacks head_dim")
    head_dim, rest = divmod(hf["hidden_size"], hf["num_attention_heads"])
    if rest:
        raise ValueError(
            f"hidden_size = {hf['hidden_size']} must be a multiple of num_attention_heads = "
            f"{hf['num_attention_heads']} where head_dim is left out"
        )
    return head_dim
