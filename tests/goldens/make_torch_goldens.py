"""Write what the torch models of transformers compute, for tests that have no torch.

    python make_torch_goldens.py tiny
    python make_torch_goldens.py smollm2 SmolLM2-135M-Instruct.Q4_1.gguf

Made with torch 2.13.0 (CPU) and transformers 5.23.0. ``tiny`` writes a folder per architecture:
random weights, tokens, logits and the gradient of the sum of next-token log-probs. ``smollm2``
writes token ids, slices of logits and greedy continuations of the real model, from the same GGUF
file that the test reads.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

HERE = Path(__file__).parent

NEW_TOKENS = 64
LOGIT_STRIDE = 96

PROMPTS = (
    "def fibonacci(n):\n    if n <",
    "import numpy as np\n\n\ndef softmax(x):\n",
    "class Stack:\n    def __init__(self):\n        self.items = []\n\n    def push(",
    "# Return True if the string is a palindrome.\ndef is_palindrome(s):\n",
    "for (int i = 0; i < 10; i++) {\n\tprintf(",
    "The capital of France is",
    "Photosynthesis is the process by which",
    "Once upon a time, in a village by the sea,",
    "<|im_start|>user\nWrite a Python function that adds two numbers.<|im_end|>\n"
    "<|im_start|>assistant\n",
)

# White space before a digit is left out: transformers drops the split of digits from GGUF files.
TOKENIZER_CORPUS = (
    "plain words, and punctuation; (brackets) [too] {and} <these>!?",
    "tabs\there\t\tand\t\t\tthere\n\tif x:\n\t\treturn y",
    "0 1 12 123 1234567890 3.14159 1e-10 0xFF 2024-01-31",
    "x=10;y = 20\nz[3]=4*5",
    "emoji 🙂 and 👩‍👩‍👧‍👦 family, flag 🇫🇷, star ⭐",
    "long" + " " * 40 + "spaces" + " " * 3 + "and more" + " " * 7,
    "trailing spaces   \n\n\n   leading spaces",
    "naïve café Zürich — “quotes” … Ωμέγα 北京 東京 한국어 العربية हिन्दी",
    "def f(a, b=None, *args, **kwargs) -> dict[str, int]:\n    return {'a': a, \"b\": b}\n",
    "<|im_start|>user\nhi<|im_end|>\n<|endoftext|> <file_sep>",
    "I'll we've don't it's THEY'RE",
    "\r\nwindows\r\nlines\r\n \u00a0non-breaking\u200bzero-width",
    "mixed123abc456 v2.0.1 item#7 a1b2c3",
    "",
)

SIZES = {
    "vocab_size": 29,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "rms_norm_eps": 1e-5,
    "head_dim": 8,
}

CASES = {
    "llama": {"model_type": "llama", "tie_word_embeddings": False},
    "llama_tied": {"model_type": "llama", "tie_word_embeddings": True, "num_key_value_heads": 4},
    "llama_linear": {
        "model_type": "llama",
        "rope_parameters": {"rope_type": "linear", "rope_theta": 100_000.0, "factor": 4.0},
    },
    "llama_llama3": {
        "model_type": "llama",
        "tie_word_embeddings": True,
        "rope_parameters": {
            "rope_type": "llama3",
            "rope_theta": 10_000.0,
            "factor": 8.0,
            "low_freq_factor": 0.5,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 64,
        },
    },
    "qwen2": {"model_type": "qwen2", "tie_word_embeddings": True, "num_key_value_heads": 1},
    "qwen3": {"model_type": "qwen3", "tie_word_embeddings": False},
    "mistral": {"model_type": "mistral", "sliding_window": None},
}


def write_tiny(name: str, options: dict, folder: Path) -> None:
    """Write one random model and what it computes."""
    torch.manual_seed(0)
    config = AutoConfig.for_model(**(SIZES | options))
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager").float().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    tokens = torch.randint(0, config.vocab_size, (2, 11))
    logits = model(tokens).logits
    logprobs = torch.log_softmax(logits[:, :-1], dim=-1)
    logprobs.gather(-1, tokens[:, 1:, None]).sum().backward()
    gradients = {f"grad/{key}": value.grad.numpy() for key, value in model.named_parameters()}
    model.save_pretrained(folder / name)
    (folder / name / "generation_config.json").unlink(missing_ok=True)
    outputs = {"tokens": tokens.numpy(), "logits": logits.detach().numpy()}
    np.savez_compressed(folder / name / "outputs.npz", **outputs, **gradients)


def write_smollm2(gguf: Path, folder: Path) -> None:
    """Write the real model's token ids, logits at the end of each prompt, and greedy tokens."""
    source = {"pretrained_model_name_or_path": gguf.parent, "gguf_file": gguf.name}
    tokenizer = AutoTokenizer.from_pretrained(**source)
    model = AutoModelForCausalLM.from_pretrained(**source, dtype=torch.float32).eval()
    prompts, logits = [], []
    for prompt in PROMPTS:
        ids = tokenizer(prompt, return_tensors="pt").input_ids
        with torch.no_grad():
            output = model(ids)
            logits.append(output.logits[0, :, ::LOGIT_STRIDE][-4:].numpy())
            greedy = [output.logits[:, -1:].argmax(-1)]
            for _ in range(NEW_TOKENS - 1):
                output = model(greedy[-1], past_key_values=output.past_key_values)
                greedy.append(output.logits[:, -1:].argmax(-1))
        greedy = torch.cat(greedy, dim=1)[0].tolist()
        prompts.append({"text": prompt, "ids": ids[0].tolist(), "greedy": greedy})
    corpus = [{"text": text, "ids": tokenizer(text).input_ids} for text in TOKENIZER_CORPUS]
    record = {"logit_stride": LOGIT_STRIDE, "prompts": prompts, "corpus": corpus}
    (folder / "smollm2.json").write_text(json.dumps(record, indent=1) + "\n")
    np.savez_compressed(folder / "smollm2_logits.npz", logits=np.stack(logits))


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("tiny")
    commands.add_parser("smollm2").add_argument("gguf", type=Path)
    arguments = parser.parse_args()
    if arguments.command == "smollm2":
        write_smollm2(arguments.gguf, HERE)
        return
    for name, options in CASES.items():
        write_tiny(name, options, HERE / "torch")


if __name__ == "__main__":
    main()
