"""Exact token ids of DeepSeek-Coder's prompts, with as much of its vocabulary as they need.

The ids are those of whole texts, written here by hand, encoded without tokenizers and without the
prompt builder (tests/goldens/make_deepseek_prompts.py). The tokenizer under test is built as of a
GGUF file of the model.
"""

import json
from pathlib import Path
from typing import Any

import pytest
from prompt_ids import PromptIds
from test_smollm2_prompts import START
from test_smollm2_prompts import TEXTS as SMOLLM2_TEXTS

from stepcoder_jax.model.tokenizer import Tokenizer, load_tokenizer, tokenizer_from_gguf

GOLDENS = Path(__file__).parent.parent / "goldens" / "deepseek_prompts.json"
BOS, EOS = "<｜begin▁of▁sentence｜>", "<|EOT|>"
SPECIAL = {BOS: 32013, EOS: 32021}
SYSTEM = (
    "You are an AI programming assistant, utilizing the Deepseek Coder model, developed by Deepseek"
    " Company, and you only answer questions related to computer science. For politically sensitive"
    " questions, security and privacy issues, and other non-computer science questions, you will"
    " refuse to answer\n"
)
# As published with the instruct models.
TEMPLATE = (
    "{% if not add_generation_prompt is defined %}\n{% set add_generation_prompt = false %}\n"
    "{% endif %}\n{%- set ns = namespace(found=false) -%}\n{%- for message in messages -%}\n"
    "    {%- if message['role'] == 'system' -%}\n        {%- set ns.found = true -%}\n"
    "    {%- endif -%}\n{%- endfor -%}\n{{bos_token}}{%- if not ns.found -%}\n"
    f"{{{{{SYSTEM!r}}}}}\n"
    "{%- endif %}\n{%- for message in messages %}\n    {%- if message['role'] == 'system' %}\n"
    "{{ message['content'] }}\n    {%- else %}\n        {%- if message['role'] == 'user' %}\n"
    "{{'### Instruction:\\n' + message['content'] + '\\n'}}\n        {%- else %}\n"
    "{{'### Response:\\n' + message['content'] + '\\n<|EOT|>\\n'}}\n        {%- endif %}\n"
    "    {%- endif %}\n{%- endfor %}\n{% if add_generation_prompt %}\n{{'### Response:'}}\n"
    "{% endif %}"
)
ASKED = SMOLLM2_TEXTS["chat"][0].partition("user\n")[2].partition("<|im_end|>")[0]
TURN = f"{BOS}{SYSTEM}### Instruction:\n{ASKED}\n### Response:\n"
# Style -> the text of its prompt at stage 0, and what of the program it gives away.
TEXTS = {style: (f"{BOS}{text}", given) for style, (text, given) in SMOLLM2_TEXTS.items()} | {
    "chat": (f"{TURN}```python\n", ""),
    "chat-free": (TURN, ""),
}


@pytest.fixture(scope="module")
def goldens() -> dict[str, Any]:
    return json.loads(GOLDENS.read_text())


@pytest.fixture(scope="module")
def tokenizer(goldens: dict[str, Any]) -> Tokenizer:
    vocabulary = {**goldens["vocabulary"], **SPECIAL}
    tokens = [f"[unused {index}]" for index in range(max(SPECIAL.values()) + 1)]
    for token, index in vocabulary.items():
        tokens[index] = token
    return tokenizer_from_gguf(
        {
            "tokenizer.ggml.model": "gpt2",
            "tokenizer.ggml.pre": "deepseek-coder",
            "tokenizer.ggml.tokens": tokens,
            "tokenizer.ggml.token_type": [3 if token in SPECIAL else 1 for token in tokens],
            "tokenizer.ggml.merges": goldens["merges"],
            "tokenizer.ggml.bos_token_id": SPECIAL[BOS],
            "tokenizer.ggml.eos_token_id": SPECIAL[EOS],
            "tokenizer.ggml.add_bos_token": True,
            "tokenizer.chat_template": TEMPLATE,
        }
    )


def test_the_turn_of_a_chat_is_the_published_ids(
    tokenizer: Tokenizer, goldens: dict[str, Any]
) -> None:
    head, end = goldens["chat"]["prompt"][:15], goldens["chat-free"]["prompt"][-5:]
    assert head == [
        32013, 2042, 417, 274, 20926, 14244, 20391, 11, 26696, 254, 20676, 30742, 339, 8589, 2008
    ]  # fmt: skip
    assert end == [185, 13518, 21289, 25, 185]
    assert tokenizer.decode(head).startswith(f"{BOS}You are an AI programming assistant, utilizing")
    assert tokenizer.decode(end) == "\n### Response:\n"


@pytest.mark.parametrize("style", TEXTS)
def test_prompts_are_these_ids(tokenizer: Tokenizer, goldens: dict[str, Any], style: str) -> None:
    PromptIds(tokenizer, goldens, style).check_prompt(*TEXTS[style])


@pytest.mark.parametrize("style", TEXTS)
def test_prompts_with_a_prefix_are_these_ids(
    tokenizer: Tokenizer, goldens: dict[str, Any], style: str
) -> None:
    assert PromptIds(tokenizer, goldens, style).check_prefix() == START


@pytest.mark.parametrize("style", TEXTS)
def test_examples_are_these_ids(tokenizer: Tokenizer, goldens: dict[str, Any], style: str) -> None:
    _, given = TEXTS[style]
    PromptIds(tokenizer, goldens, style).check_example(given)


def test_a_folder_begins_its_texts_where_its_configuration_says_so(
    tokenizer: Tokenizer, tmp_path: Path
) -> None:
    """The published folder has no such rule in its tokenizer.json, only ``add_bos_token``."""
    tokenizer.save_pretrained(tmp_path)
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"post_processor": None}))
    config = tmp_path / "tokenizer_config.json"
    for begins in (True, False):
        config.write_text(json.dumps(json.loads(config.read_text()) | {"add_bos_token": begins}))
        ids = load_tokenizer(tmp_path)("def", add_special_tokens=True).input_ids
        assert ids == [SPECIAL[BOS]] * begins + tokenizer("def", add_special_tokens=False).input_ids
