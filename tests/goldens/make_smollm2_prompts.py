"""Write the token ids of whole prompt texts, with the tokenizers library alone.

    python make_smollm2_prompts.py SmolLM2-135M-Instruct.Q4_1.gguf

Neither the prompt builder nor the project's tokenizer takes part: the vocabulary and the merges are
read from the GGUF file with gguf, and the special tokens and the split of digits are set here.
Made with tokenizers 0.23.3 and gguf. The texts are those of tests/model/test_smollm2_prompts.py.
"""

import json
import re
import sys
from pathlib import Path

from gguf import GGUFReader
from tokenizers import Tokenizer, models, pre_tokenizers

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "model"))

from test_smollm2_prompts import SOLUTION, START, TEXTS  # noqa: E402

ENDS = {"plain": "", "chat": "\n```", "chat-free": "\n```", "completion": "", "mbpp": "\n[DONE]"}


def read_tokenizer(path: str) -> tuple[Tokenizer, int]:
    """The tokenizer of the file, and its end token."""
    fields = GGUFReader(path).fields
    tokens = fields["tokenizer.ggml.tokens"].contents()
    merges = [tuple(pair.split(" ")) for pair in fields["tokenizer.ggml.merges"].contents()]
    kinds = fields["tokenizer.ggml.token_type"].contents()
    tokenizer = Tokenizer(models.BPE(vocab={t: i for i, t in enumerate(tokens)}, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )
    tokenizer.add_special_tokens([t for t, kind in zip(tokens, kinds, strict=True) if kind == 3])
    return tokenizer, int(fields["tokenizer.ggml.eos_token_id"].contents())


def main() -> None:
    """Write the goldens."""
    tokenizer, end = read_tokenizer(sys.argv[1])

    def ids(text: str) -> list[int]:
        return tokenizer.encode(text, add_special_tokens=False).ids

    record = {}
    for style, (text, given) in TEXTS.items():
        opened = text
        if style == "chat-free":
            opened += "```python\n"
        rest = SOLUTION[len(given) :] + ENDS[style]
        opening = ids("```python\n") if style == "chat-free" else []
        record[style] = {
            "prompt": ids(text),
            "with_prefix": ids(opened) + (ids(START) if not given else []),
            "prefix": ids(START),
            "answer": [*opening, *ids(rest), end],
        }
    text = json.dumps(record)
    lines = re.sub(r'("\w[\w-]*": \{)', r"\n\1", text)
    (HERE / "smollm2_prompts.json").write_text(lines + "\n")


if __name__ == "__main__":
    main()
