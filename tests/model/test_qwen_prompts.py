"""Exact token ids of Qwen2.5's prompts, with as much of its vocabulary as they need.

The ids are those of whole texts, written here by hand, that tiktoken made of the whole vocabulary
(tests/goldens/make_qwen_prompts.py).
"""

import json
from pathlib import Path
from typing import Any

import pytest
import tokenizers
from prompt_ids import PromptIds
from test_smollm2_prompts import START
from test_smollm2_prompts import TEXTS as SMOLLM2_TEXTS
from tokenizers import decoders, models, pre_tokenizers

from stepcoder_jax.model.tokenizer import Tokenizer

GOLDENS = Path(__file__).parent.parent / "goldens" / "qwen_prompts.json"
SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
SPECIAL = {"<|endoftext|>": 151643, "<|im_start|>": 151644, "<|im_end|>": 151645}
SMOLLM2_SYSTEM = "You are a helpful AI assistant named SmolLM, trained by Hugging Face"
SYSTEM = "You are Qwen, created by Alibaba Cloud. You are a helpful assistant."
TEMPLATE = (
    "{% for m in messages %}{% if loop.first %}"
    f"{{{{ '<|im_start|>system\n{SYSTEM}<|im_end|>\n' }}}}{{% endif %}}"
    "{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
# Style -> the text of its prompt at stage 0, and what of the program it gives away.
TEXTS = {
    style: (text.replace(SMOLLM2_SYSTEM, SYSTEM), given)
    for style, (text, given) in SMOLLM2_TEXTS.items()
}


@pytest.fixture(scope="module")
def goldens() -> dict[str, Any]:
    return json.loads(GOLDENS.read_text())


@pytest.fixture(scope="module")
def tokenizer(goldens: dict[str, Any]) -> Tokenizer:
    merges = [tuple(pair) for pair in goldens["merges"]]
    vocabulary = {**goldens["vocabulary"], **SPECIAL}
    backend = tokenizers.Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    split = pre_tokenizers.Split(tokenizers.Regex(SPLIT), "isolated")
    bytes_apart = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.pre_tokenizer = pre_tokenizers.Sequence([split, bytes_apart])
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens(list(SPECIAL))
    return Tokenizer(
        tokenizer_object=backend,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        chat_template=TEMPLATE,
        clean_up_tokenization_spaces=False,
    )


def test_the_turns_of_a_chat_are_the_published_ids(
    tokenizer: Tokenizer, goldens: dict[str, Any]
) -> None:
    head = goldens["chat"]["prompt"][:24]
    assert head == [
        151644, 8948, 198, 2610, 525, 1207, 16948, 11, 3465, 553, 54364, 14817, 13, 1446, 525, 264,
        10950, 17847, 13, 151645, 198, 151644, 872, 198,
    ]  # fmt: skip
    assert tokenizer.decode(head).endswith(f"{SYSTEM}<|im_end|>\n<|im_start|>user\n")


@pytest.mark.parametrize("style", TEXTS)
def test_prompts_are_these_ids(tokenizer: Tokenizer, goldens: dict[str, Any], style: str) -> None:
    PromptIds(tokenizer, goldens, style).check_prompt(*TEXTS[style])


@pytest.mark.parametrize("style", TEXTS)
def test_prompts_with_a_prefix_are_these_ids(
    tokenizer: Tokenizer, goldens: dict[str, Any], style: str
) -> None:
    """The vocabulary has `.\"\"\"` and the line break behind it as one token: it is not cut."""
    assert START.startswith(PromptIds(tokenizer, goldens, style).check_prefix())


@pytest.mark.parametrize("style", TEXTS)
def test_examples_are_these_ids(tokenizer: Tokenizer, goldens: dict[str, Any], style: str) -> None:
    _, given = TEXTS[style]
    PromptIds(tokenizer, goldens, style).check_example(given)
