"""Write what torch computes with SmolLM2-135M: token ids, slices of logits, greedy continuations.

    python make_smollm2_goldens.py SmolLM2-135M-Instruct.Q4_1.gguf

Made with torch 2.13.0 (CPU) and transformers 5.23.0, from the same GGUF file that the test reads.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

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
    parser.add_argument("gguf", type=Path)
    write_smollm2(parser.parse_args().gguf, HERE)


if __name__ == "__main__":
    main()
