"""Exact token ids of SmolLM2's prompts; that its tokenizer is torch's is tests/model/test_smollm2.

The ids are those of whole texts, written here by hand; the builder puts its prompts together from
pieces (turn, start of the answer, prefix), and must come to the same.
"""

import json
import os
from pathlib import Path

import pytest
from stepcoder_executor import AssertionTests

from stepcoder_jax.data.prompts import PromptBuilder
from stepcoder_jax.eval_styles import STYLES
from stepcoder_jax.model.load import open_model
from stepcoder_jax.model.tokenizer import Tokenizer
from stepcoder_jax.types import Problem

pytestmark = pytest.mark.slow
GOLDENS = Path(__file__).parent.parent / "goldens" / "smollm2_prompts.json"

START = 'def add(a, b):\n    """Add."""'
SOLUTION = f"{START}\n    return a + b"
PROBLEM = Problem(
    id="p",
    question="Add 12 and b.",
    difficulty="introductory",
    starter_code=START,
    canonical_solution=SOLUTION,
    tests=AssertionTests(assertions=("assert add(1, 2) == 3",), setup=""),
    source="mine",
)
PREFIX_END = len(START)
TURN = (
    "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face"
    "<|im_end|>\n<|im_start|>user\nAdd 12 and b.\nYour code should pass these tests:\n"
    f"assert add(1, 2) == 3\n{START}<|im_end|>\n<|im_start|>assistant\n"
)
# Style -> the text of its prompt at stage 0, and what of the program it gives away.
TEXTS = {
    "plain": (
        "Add 12 and b.\nYour code should pass these tests:\nassert add(1, 2) == 3\n"
        f"{START}\nAnswer:\n",
        "",
    ),
    "chat": (f"{TURN}```python\n", ""),
    "chat-free": (TURN, ""),
    "completion": (START, START),
    "mbpp": (
        "You are an expert Python programmer, and here is your task: Add 12 and b. Your code"
        " should pass these tests:\n\nassert add(1, 2) == 3\n[BEGIN]\n",
        "",
    ),
}


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    path = os.environ.get("STEPCODER_SMOLLM2")
    if path is None:
        pytest.skip(
            "STEPCODER_SMOLLM2 is not set: run launch/fetch_smollm2.sh and set it to the .gguf"
        )
    with open_model(Path(path)) as stored:
        return stored.tokenizer


@pytest.mark.parametrize("style", TEXTS)
def test_prompts_are_these_ids(tokenizer: Tokenizer, style: str) -> None:
    golden = json.loads(GOLDENS.read_text())[style]
    builder = PromptBuilder(tokenizer=tokenizer, config=STYLES[style])
    text, given = TEXTS[style]
    prompt = builder.prompt(PROBLEM)
    assert list(prompt.tokens) == golden["prompt"]
    assert tokenizer.decode(golden["prompt"]) == text
    assert tokenizer.decode(prompt.prefix) == given


@pytest.mark.parametrize("style", TEXTS)
def test_prompts_with_a_prefix_are_these_ids(tokenizer: Tokenizer, style: str) -> None:
    golden = json.loads(GOLDENS.read_text())[style]
    builder = PromptBuilder(tokenizer=tokenizer, config=STYLES[style])
    prompt = builder.prompt(PROBLEM, PREFIX_END)
    assert list(prompt.tokens) == golden["with_prefix"]
    assert list(prompt.prefix) == golden["prefix"]
    assert tokenizer.decode(golden["prefix"]) == START


@pytest.mark.parametrize("style", TEXTS)
def test_examples_are_these_ids(tokenizer: Tokenizer, style: str) -> None:
    golden = json.loads(GOLDENS.read_text())[style]
    example = PromptBuilder(tokenizer=tokenizer, config=STYLES[style]).example(PROBLEM)
    assert list(example.tokens[-example.answer_tokens :]) == golden["answer"]
    assert golden["answer"][-1] == tokenizer.eos_token_id
