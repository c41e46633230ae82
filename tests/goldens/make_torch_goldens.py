"""Write what the torch models of transformers compute, for tests that have no torch.

    python make_torch_goldens.py

Made with torch 2.13.0 (CPU) and transformers 5.23.0. ``torch/`` gets a folder per model: random
bfloat16 weights as transformers saves them, tokens of a padded batch, what each part of the last
layer puts out, logits, and the gradient of the sum of the log-probs of given tokens, all computed
in float32, and how far torch's own bfloat16 model is from them. ``rope/`` gets angles at the real
sizes of models.
"""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

HERE = Path(__file__).parent

SIZES = {
    "vocab_size": 19,
    "hidden_size": 16,
    "intermediate_size": 12,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "max_position_embeddings": 128,
    "rms_norm_eps": 1e-5,
    "head_dim": 4,
    "tie_word_embeddings": False,
}

# Two rows of a batch; the second is padded to the length of the first.
LENGTHS = (9, 5)


def rope(kind: str, theta: float, **options: float) -> dict:
    """Return the option of a config that says how positions are rotated."""
    return {"rope_parameters": {"rope_type": kind, "rope_theta": theta, **options}}


def llama3_rope(theta: float, factor: float, original: int) -> dict:
    """Return ``rope`` of Llama 3.1 and later."""
    context = {"original_max_position_embeddings": original}
    return rope(
        "llama3", theta, factor=factor, low_freq_factor=1.0, high_freq_factor=4.0, **context
    )


# Each is small, but has the rope, the ratio of heads, the biases and the head of its model. With
# theta = 500 the four frequencies of a head of eight are kept, on the ramp, divided and divided.
WIDE_HEADS = {"num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 8}
CASES = {
    "llama2": {"model_type": "llama"},
    "llama3": {"model_type": "llama", "num_key_value_heads": 1, **rope("default", 5e5)},
    "llama31": {"model_type": "llama", **WIDE_HEADS, **llama3_rope(500.0, 8.0, 64)},
    "llama32": {
        "model_type": "llama",
        "tie_word_embeddings": True,
        **WIDE_HEADS,
        **llama3_rope(500.0, 32.0, 64),
    },
    "deepseek_coder": {"model_type": "llama", **rope("linear", 1e5, factor=4.0)},
    "smollm2": {
        "model_type": "llama",
        "tie_word_embeddings": True,
        "hidden_size": 12,
        "num_attention_heads": 3,
        "num_key_value_heads": 1,
        **rope("default", 1e5),
    },
    "mistral": {
        "model_type": "mistral",
        "sliding_window": None,
        "num_key_value_heads": 2,
        "head_dim": 6,
        **rope("default", 1e6),
    },
    "qwen2": {"model_type": "qwen2", "num_key_value_heads": 2, **rope("default", 1e6)},
    "qwen2_tied": {
        "model_type": "qwen2",
        "tie_word_embeddings": True,
        "hidden_size": 24,
        "num_attention_heads": 6,
        "num_key_value_heads": 1,
        **rope("default", 1e6),
    },
    "qwen3": {
        "model_type": "qwen3",
        "num_key_value_heads": 2,
        "head_dim": 8,
        **rope("default", 1e6),
    },
    "qwen3_tied": {
        "model_type": "qwen3",
        "tie_word_embeddings": True,
        "num_key_value_heads": 1,
        **rope("default", 1e6),
    },
}

# Rope at its real sizes, where a wrong last digit of a frequency shows at far positions.
ROPES = {
    "llama2": (128, 4096, rope("default", 1e4)),
    "llama31": (128, 131_072, llama3_rope(5e5, 8.0, 8192)),
    "llama32": (64, 131_072, llama3_rope(5e5, 32.0, 8192)),
    "deepseek_coder": (128, 16_384, rope("linear", 1e5, factor=4.0)),
    "smollm2": (64, 8192, rope("default", 1e5)),
    "qwen3": (128, 40_960, rope("default", 1e6)),
}

# Of the last layer, whose output they make up.
PARTS = ("input_layernorm", "self_attn", "post_attention_layernorm", "mlp")
PARTS_OF_ATTENTION = ("q_proj", "k_proj", "v_proj", "q_norm", "k_norm")


def random_model(options: dict) -> torch.nn.Module:
    """Return a model whose float32 weights are exact in bfloat16, none of them near 0 or 1."""
    torch.manual_seed(0)
    config = AutoConfig.for_model(**(SIZES | options))
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager").float().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
            parameter.copy_(parameter.bfloat16())
    return model


def left_padded(x: torch.Tensor) -> torch.Tensor:
    """Move each row's padding from its right to its left."""
    return torch.stack([row.roll(max(LENGTHS) - n, 0) for row, n in zip(x, LENGTHS, strict=True)])


def right_padded(x: torch.Tensor) -> torch.Tensor:
    """Undo ``left_padded``."""
    return torch.stack([row.roll(n - max(LENGTHS), 0) for row, n in zip(x, LENGTHS, strict=True)])


def outputs_of_parts(model: torch.nn.Module, inputs: dict) -> dict[str, np.ndarray]:
    """Run the model and return what each part of its last layer puts out."""
    outputs = {}

    def keep(name: str) -> Callable:
        def hook(_module: object, _inputs: object, output: torch.Tensor | tuple) -> None:
            tensor = output[0] if isinstance(output, tuple) else output
            outputs[f"out/{name}"] = tensor.detach().numpy()

        return hook

    first, last = model.model.layers
    modules = {"first_layer": first, "last_layer": last, "norm": model.model.norm}
    modules |= {name: getattr(last, name) for name in PARTS}
    attention = last.self_attn
    modules |= {n: getattr(attention, n) for n in PARTS_OF_ATTENTION if hasattr(attention, n)}
    hooks = [module.register_forward_hook(keep(name)) for name, module in modules.items()]
    outputs["logits"] = model(**inputs).logits.detach().numpy()
    for hook in hooks:
        hook.remove()
    return outputs


def gradients_of(
    model: torch.nn.Module, inputs: dict, targets: torch.Tensor
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Return logits, and the gradient of the sum of the log-probs of ``targets``."""
    model.zero_grad()
    logits = model(**inputs).logits
    logprobs = torch.log_softmax(logits.float(), dim=-1).gather(-1, targets[..., None])[..., 0]
    logprobs[inputs["attention_mask"].bool()].sum().backward()
    gradients = {name: value.grad.float() for name, value in model.named_parameters()}
    return logits.detach().float(), gradients


def relative(rough: list[torch.Tensor], exact: list[torch.Tensor]) -> np.ndarray:
    """Return the norm of a difference over the norm of what is exact."""
    rough, exact = (torch.cat([x.flatten() for x in each]) for each in (rough, exact))
    return ((rough - exact).norm() / exact.norm()).numpy()


def write_tiny(name: str, options: dict, folder: Path) -> None:
    """Write one random model and what it computes."""
    model = random_model(options)
    shape = (len(LENGTHS), max(LENGTHS))
    tokens, targets = torch.randint(0, model.config.vocab_size, (2, *shape))
    is_token = torch.arange(shape[1])[None] < torch.tensor(LENGTHS)[:, None]
    tokens = tokens * is_token
    right = {"input_ids": tokens, "attention_mask": is_token.long()}
    left = {key: left_padded(value) for key, value in right.items()}
    left["position_ids"] = (left["attention_mask"].cumsum(-1) - 1).clamp(min=0)
    outputs = outputs_of_parts(model, right)
    logits, gradients = gradients_of(model, left, left_padded(targets))
    outputs |= {f"grad/{key}": value.numpy() for key, value in gradients.items()}
    outputs["left_padded_logits"] = right_padded(logits).numpy()
    rough_logits, rough = gradients_of(model.bfloat16(), left, left_padded(targets))
    shown = left["attention_mask"].bool()
    outputs["bfloat16_logits_error"] = relative([rough_logits[shown]], [logits[shown]])
    outputs["bfloat16_gradients_error"] = relative([*rough.values()], [*gradients.values()])
    model.save_pretrained(folder / name)
    (folder / name / "generation_config.json").unlink(missing_ok=True)
    asked = {"tokens": tokens.numpy(), "targets": targets.numpy(), "lengths": np.array(LENGTHS)}
    np.savez_compressed(folder / name / "outputs.npz", **asked, **outputs)


def write_ropes(folder: Path) -> None:
    """Write cosines and sines at powers of four up to the end of each context, and the config."""
    for name, (head_dim, context, options) in ROPES.items():
        sizes = SIZES | {"head_dim": head_dim, "max_position_embeddings": context}
        config = AutoConfig.for_model("llama", **(sizes | options))
        powers = [2**i - 1 for i in range(0, context.bit_length() - 1, 2)]
        positions = torch.tensor([*powers, context - 1])
        cos, sin = LlamaRotaryEmbedding(config)(torch.zeros(1), positions[None])
        half = head_dim // 2
        config.to_json_file(folder / f"{name}.json", use_diff=False)
        np.savez_compressed(
            folder / f"{name}.npz",
            positions=positions.numpy(),
            cos=cos[0, :, :half].numpy(),
            sin=sin[0, :, :half].numpy(),
        )


def main() -> None:
    """Replace both folders."""
    for kind in ("torch", "rope"):
        shutil.rmtree(HERE / kind, ignore_errors=True)
        (HERE / kind).mkdir()
    for name, options in CASES.items():
        write_tiny(name, options, HERE / "torch")
    write_ropes(HERE / "rope")


if __name__ == "__main__":
    main()
