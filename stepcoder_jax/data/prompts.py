"""Problems to token ids: the prompt, the curriculum's prefix in it, and supervised examples."""

from collections.abc import Sequence
from dataclasses import dataclass

from stepcoder_executor import AssertionTests, IoTests

from stepcoder_jax.config import ConfigError, PromptConfig
from stepcoder_jax.model.tokenizer import Tokenizer
from stepcoder_jax.types import Problem, Prompt


@dataclass(frozen=True, kw_only=True)
class Example:
    """A supervised example: ids of prompt and answer, of which the last ``answer_tokens`` are the
    answer with its end token.
    """

    tokens: tuple[int, ...]
    answer_tokens: int


@dataclass(frozen=True, kw_only=True)
class PromptBuilder:
    """Makes prompts and supervised examples in one format.

    Raises:
      ConfigError: ``chat`` asked of a tokenizer without a template, or no end token.
    """

    tokenizer: Tokenizer
    config: PromptConfig

    def __post_init__(self) -> None:
        if self.config.format == "chat" and not self.tokenizer.chat_template:
            raise ConfigError(
                "prompt.format = 'chat': this model's tokenizer has no chat template;"
                " use prompt.format: plain"
            )
        if self.tokenizer.eos_token_id is None:
            raise ConfigError("model.path: its tokenizer names no end-of-sequence token")

    def prompt(self, problem: Problem, prefix_end: int = 0) -> Prompt:
        """The prompt of a problem.

        Args:
          prefix_end: code points of the canonical solution that are given away. The prefix is
            those of its tokens that end by then, so that what follows (a line break and
            indentation are often one token) is written as the tokenizer would write it.
        """
        head = self._head(problem)
        prefix = self._prefix(problem.canonical_solution or "", prefix_end)
        return Prompt(tokens=(*head, *prefix), prefix_tokens=len(prefix))

    def example(self, problem: Problem) -> Example:
        """Prompt and canonical solution, with the end token.

        Raises:
          ValueError: the problem has no canonical solution.
        """
        if problem.canonical_solution is None:
            raise ValueError(f"problem {problem.id!r} has no canonical solution to learn from")
        text = problem.canonical_solution + self.config.answer_end
        ids = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        answer = (*ids, self.tokenizer.eos_token_id or 0)
        return Example(tokens=(*self._head(problem), *answer), answer_tokens=len(answer))

    def _head(self, problem: Problem) -> Sequence[int]:
        text = requirement(problem, self.config.shown_tests)
        if self.config.format == "plain":
            text = f"{text}\nAnswer:\n{self.config.answer_start}"
            return self.tokenizer(text, add_special_tokens=True)["input_ids"]
        turn = self.tokenizer.apply_chat_template(
            [{"role": "user", "content": text}], tokenize=False, add_generation_prompt=True
        )
        text = f"{turn}{self.config.answer_start}"
        return self.tokenizer(text, add_special_tokens=False)["input_ids"]

    def _prefix(self, solution: str, end: int) -> tuple[int, ...]:
        if end == 0:
            return ()
        encoded = self.tokenizer(solution, add_special_tokens=False, return_offsets_mapping=True)
        pairs = zip(encoded["input_ids"], encoded["offset_mapping"], strict=True)
        kept: list[int] = []
        for token, (_, token_end) in pairs:
            if token_end > end:
                break
            kept.append(token)
        return tuple(kept)


def requirement(problem: Problem, shown_tests: int) -> str:
    """The text a policy is asked with: question, how it is called, and what to begin from."""
    parts = [problem.question.strip()]
    tests = problem.tests
    if isinstance(tests, AssertionTests):
        shown = "\n".join(tests.assertions[:shown_tests])
        if shown:
            parts.append(f"Your code should pass these tests:\n{shown}")
    elif isinstance(tests, IoTests) and tests.fn_name is not None and not problem.starter_code:
        parts.append(f"Write the function `{tests.fn_name}`.")
    elif tests.fn_name is None:
        parts.append("Read standard input and write standard output.")
    if problem.starter_code.strip():
        parts.append(problem.starter_code.rstrip())
    return "\n".join(parts)
