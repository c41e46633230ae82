"""Token ids of one problem's prompts against goldens, in any style and with any tokenizer."""

from typing import Any

from test_smollm2_prompts import PREFIX_END, PROBLEM, SOLUTION

from stepcoder_jax.data.prompts import PromptBuilder
from stepcoder_jax.eval_styles import STYLES
from stepcoder_jax.model.tokenizer import Tokenizer


class PromptIds:
    """One style of prompt, and what ids it is to have."""

    def __init__(self, tokenizer: Tokenizer, goldens: dict[str, Any], style: str) -> None:
        self._tokenizer, self._golden = tokenizer, goldens[style]
        self._builder = PromptBuilder(tokenizer=tokenizer, config=STYLES[style])

    def check_prompt(self, text: str, given: str) -> None:
        """At stage 0: the text, and what of the program it gives away."""
        prompt = self._builder.prompt(PROBLEM)
        assert list(prompt.tokens) == self._golden["prompt"]
        assert self._tokenizer.decode(prompt.tokens) == text
        assert self._tokenizer.decode(prompt.prefix) == given

    def check_prefix(self) -> str:
        """With a prefix of the solution; returns how much of it the tokens hold."""
        prompt = self._builder.prompt(PROBLEM, PREFIX_END)
        assert list(prompt.tokens) == self._golden["with_prefix"]
        assert list(prompt.prefix) == self._golden["prefix"]
        return self._tokenizer.decode(prompt.prefix)

    def check_example(self, given: str) -> None:
        """Of SFT: the rest of the solution, and the end."""
        example = self._builder.example(PROBLEM)
        answer = example.tokens[-example.answer_tokens :]
        assert list(answer) == self._golden["answer"]
        assert answer[-1] == self._tokenizer.eos_token_id
        assert SOLUTION.removeprefix(given) in self._tokenizer.decode(answer)
