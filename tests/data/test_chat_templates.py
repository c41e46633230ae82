"""The exact text of the chat templates, and where answer and prefix stand in them.

SmolLM2's template is the one in its GGUF file. Those of DeepSeek-Coder and Qwen2.5-Coder are
shortened to what a question without a system message needs, and the texts are those that their
documentation shows. All run with a small tokenizer that has their special tokens; ids of whole
vocabularies are in tests/model/test_smollm2_prompts.py, test_qwen_prompts.py and
test_deepseek_prompts.py, which has DeepSeek-Coder's whole template.
"""

import pytest
from stepcoder_executor import IoTests

from stepcoder_jax.config import ConfigError, PromptConfig
from stepcoder_jax.data.prompts import PromptBuilder
from stepcoder_jax.eval_styles import STYLES
from stepcoder_jax.model.token_bytes import token_bytes
from stepcoder_jax.model.tokenizer import Tokenizer, train_tokenizer
from stepcoder_jax.program import assemble
from stepcoder_jax.types import Problem

IM = "{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}"
ASSISTANT = "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
SMOL_SYSTEM = "You are a helpful AI assistant named SmolLM, trained by Hugging Face"
QWEN_SYSTEM = "You are Qwen, created by Alibaba Cloud. You are a helpful assistant."
DEEPSEEK_SYSTEM = (
    "You are an AI programming assistant, utilizing the Deepseek Coder model, developed by Deepseek"
    " Company, and you only answer questions related to computer science. For politically sensitive"
    " questions, security and privacy issues, and other non-computer science questions, you will"
    " refuse to answer\n"
)
BOS = "<｜begin▁of▁sentence｜>"


def chat_markup(system: str) -> str:
    """The templates of SmolLM2 and Qwen2.5 differ in the system message alone."""
    return (
        "{% for m in messages %}{% if loop.first and m['role'] != 'system' %}"
        f"{{{{ '<|im_start|>system\n{system}<|im_end|>\n' }}}}{{% endif %}}{IM}{{% endfor %}}"
        f"{ASSISTANT}"
    )


DEEPSEEK = (
    f"{{{{ bos_token }}}}{{{{ '{DEEPSEEK_SYSTEM}' }}}}"
    "{% for m in messages %}{{ '### Instruction:\n' + m['content'] + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '### Response:\n' }}{% endif %}"
)

# Name -> template, special tokens, what stands before the question and between it and the answer.
MODELS = {
    "smollm2": (
        chat_markup(SMOL_SYSTEM),
        {"eos_token": "<|im_end|>", "bos_token": "<|im_start|>"},
        f"<|im_start|>system\n{SMOL_SYSTEM}<|im_end|>\n<|im_start|>user\n",
        "<|im_end|>\n<|im_start|>assistant\n",
    ),
    "qwen2.5-coder": (
        chat_markup(QWEN_SYSTEM),
        {"eos_token": "<|im_end|>", "additional_special_tokens": ["<|im_start|>"]},
        f"<|im_start|>system\n{QWEN_SYSTEM}<|im_end|>\n<|im_start|>user\n",
        "<|im_end|>\n<|im_start|>assistant\n",
    ),
    "deepseek-coder": (
        DEEPSEEK,
        {"eos_token": "<|EOT|>", "bos_token": BOS},
        f"{BOS}{DEEPSEEK_SYSTEM}### Instruction:\n",
        "\n### Response:\n",
    ),
}

SOLUTION = "def f(n):\n    return n + 1"
PROBLEM = Problem(
    id="p",
    question="Add one.",
    difficulty="introductory",
    starter_code="",
    canonical_solution=SOLUTION,
    tests=IoTests(fn_name="f", inputs=([1],), outputs=(2,)),
    source="mine",
)
ASKED = "Add one.\nWrite the function `f`."


@pytest.fixture(params=MODELS, name="model")
def _model(request: pytest.FixtureRequest) -> tuple[Tokenizer, str]:
    """A small tokenizer with a model's special tokens and template, and its head of a prompt."""
    template, special, before, after = MODELS[request.param]
    tokenizer = train_tokenizer([SOLUTION, ASKED], 300)
    tokenizer.add_special_tokens(special)
    tokenizer.chat_template = template
    return tokenizer, f"{before}{ASKED}{after}"


def builder(tokenizer: Tokenizer, config: PromptConfig) -> PromptBuilder:
    return PromptBuilder(tokenizer=tokenizer, config=config)


def test_a_tokenizer_without_an_end_is_named_by_its_path(model: tuple[Tokenizer, str]) -> None:
    tokenizer, _ = model
    tokenizer.eos_token, tokenizer.name_or_path = None, "models/mine"
    message = "tokenizer of models/mine names no end-of-sequence token"
    with pytest.raises(ConfigError, match=message):
        builder(tokenizer, STYLES["plain"])


def text(tokenizer: Tokenizer, tokens: tuple[int, ...]) -> str:
    return str(tokenizer.decode(tokens, skip_special_tokens=False))


def test_an_answer_begins_in_the_fence_of_the_assistants_turn(
    model: tuple[Tokenizer, str],
) -> None:
    tokenizer, head = model
    made = builder(tokenizer, STYLES["chat"])
    prompt, example = made.prompt(PROBLEM), made.example(PROBLEM)
    assert text(tokenizer, prompt.tokens) == f"{head}```python\n"
    answer = f"{SOLUTION}\n```{tokenizer.eos_token}"
    assert text(tokenizer, example.tokens) == f"{head}```python\n{answer}"
    # No special token is spelt out in pieces, and none is put in twice.
    special = [i for i in prompt.tokens if i in tokenizer.all_special_ids]
    spelt = sum(head.count(token) for token in set(tokenizer.all_special_tokens))
    assert len(special) == spelt


def test_a_prefix_goes_on_where_the_answer_begins(model: tuple[Tokenizer, str]) -> None:
    tokenizer, head = model
    given = SOLUTION[: SOLUTION.index("    return")]
    for style in ("chat", "chat-free"):
        made = builder(tokenizer, STYLES[style])
        prompt = made.prompt(PROBLEM, len(given))
        written = text(tokenizer, prompt.tokens)
        kept = text(tokenizer, prompt.prefix)
        assert kept.strip() == "def f(n):"
        assert written == f"{head}```python\n{kept}"


def test_what_a_free_answer_is_trained_on_is_what_is_found_in_it(
    model: tuple[Tokenizer, str],
) -> None:
    tokenizer, head = model
    made = builder(tokenizer, STYLES["chat-free"])
    prompt, example = made.prompt(PROBLEM), made.example(PROBLEM)
    assert text(tokenizer, prompt.tokens) == head
    answer = example.tokens[-example.answer_tokens :]
    assert text(tokenizer, answer) == f"```python\n{SOLUTION}\n```{tokenizer.eos_token}"
    for end in (0, SOLUTION.index("    return")):
        asked = made.prompt(PROBLEM, end)
        # The rest of the example, as a policy that has learnt it would say it.
        said = example.tokens[len(asked.tokens) :]
        program = assemble(
            token_bytes(tokenizer),
            asked.prefix,
            said,
            stop=(),
            end_token=tokenizer.eos_token_id,
            fence=made.fence(asked),
        )
        assert program.text == SOLUTION
