"""Problems to token ids: the prompt, the curriculum's prefix in it, and supervised examples."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from stepcoder_jax.config import ConfigError, PromptConfig
from stepcoder_jax.data.requirement import mbpp_task, requirement
from stepcoder_jax.extract import OPENING, Fence
from stepcoder_jax.model.tokenizer import Tokenizer
from stepcoder_jax.types import Problem, Prompt

# A normaliser may make one character of several.
_MOST_NORMALISED = 4


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

    Attributes:
      shots: problems that the ``mbpp`` format shows solved before the one that is asked.

    Raises:
      ConfigError: ``chat`` asked of a tokenizer without a template, or no end token.
    """

    tokenizer: Tokenizer
    config: PromptConfig
    shots: tuple[Problem, ...] = ()

    def __post_init__(self) -> None:
        if self.config.format == "chat" and not self.tokenizer.chat_template:
            raise ConfigError(
                "prompt.format = 'chat': this model's tokenizer has no chat template;"
                " use prompt.format: plain"
            )
        if self.tokenizer.eos_token_id is None:
            raise ConfigError(
                f"the tokenizer of {self.tokenizer.name_or_path or 'this model'} names no"
                " end-of-sequence token: name one (eos_token in its tokenizer_config.json)"
            )

    def is_too_long(self, problem: Problem, most_tokens: int) -> bool:
        """Whether a prompt surely has more tokens, told by its characters alone.

        Tokenising takes hundreds of times a text's own memory: one of megabytes, gigabytes. Other
        prompts have to be made to be counted.
        """
        is_begun = self.config.format == "completion"
        text = problem.starter_code if is_begun else problem.question
        return len(text) > most_tokens * self._longest_token * _MOST_NORMALISED

    def prompt(self, problem: Problem, prefix_end: int = 0) -> Prompt:
        """The prompt of a problem.

        Args:
          prefix_end: code points of the canonical solution that are given away. The prefix is
            those of its tokens that end by then, so that what follows (a line break and
            indentation are often one token) is written as the tokenizer would write it.

        Raises:
          ConfigError: the format asks for what the problem lacks.
        """
        head = self._head(problem)
        given = self._given(problem)
        prefix = self._ids(given)
        if prefix_end > len(given):
            prefix = (*prefix, *self._prefix(_rest(problem, given), prefix_end - len(given)))
        opening = self._opening() if prefix else ()
        return Prompt(tokens=(*head, *opening, *prefix), prefix_tokens=len(prefix))

    def example(self, problem: Problem) -> Example:
        """Prompt and canonical solution, with the end token.

        Raises:
          ValueError: the problem has no canonical solution.
          ConfigError: the format asks for what the problem lacks.
        """
        if problem.canonical_solution is None:
            raise ValueError(f"problem {problem.id!r} has no canonical solution to learn from")
        given = self._given(problem)
        rest = self._ids(_rest(problem, given) + self.config.answer_end)
        answer = (*self._opening(), *rest, self.tokenizer.eos_token_id or 0)
        head = (*self._head(problem), *self._ids(given))
        return Example(tokens=(*head, *answer), answer_tokens=len(answer))

    def fence(self, prompt: Prompt) -> Fence:
        """Where in the response to one of its prompts the program is."""
        if self.config.extract == "whole":
            return "none"
        return "inside" if self.config.opens_fence or prompt.prefix_tokens else "search"

    @cached_property
    def _longest_token(self) -> int:
        return max(map(len, self.tokenizer.get_vocab()))

    def _head(self, problem: Problem) -> Sequence[int]:
        config = self.config
        match config.format:
            case "completion":
                # The whole prompt is the program's beginning; only what stands before any text.
                return self.tokenizer("", add_special_tokens=True)["input_ids"]
            case "mbpp":
                text = "".join(
                    f"{mbpp_task(shot, config.shown_tests)}{config.answer_start}"
                    f"{shot.canonical_solution}{config.answer_end}\n\n"
                    for shot in self.shots
                )
                text += mbpp_task(problem, config.shown_tests) + config.answer_start
            case "plain":
                text = f"{requirement(problem, config.shown_tests)}\nAnswer:\n{config.answer_start}"
            case "chat":
                return self._ids(self._turn(problem) + config.answer_start)
        return self.tokenizer(text, add_special_tokens=True)["input_ids"]

    def _turn(self, problem: Problem) -> str:
        """The conversation up to where the assistant begins to answer."""
        asked = [{"role": "user", "content": requirement(problem, self.config.shown_tests)}]
        return str(
            self.tokenizer.apply_chat_template(asked, tokenize=False, add_generation_prompt=True)
        )

    def _given(self, problem: Problem) -> str:
        """What of the program the prompt holds whatever the stage: a completion's beginning."""
        if self.config.format != "completion":
            return ""
        start = problem.starter_code
        if not start.strip():
            raise ConfigError(
                f"prompt.format = 'completion': problem {problem.id!r} has no starter code to"
                " go on from"
            )
        return start

    def _opening(self) -> Sequence[int]:
        """What an answer that is looked through for its code block opens that block with."""
        searched = self.config.extract == "fenced" and not self.config.opens_fence
        return self._ids(OPENING) if searched else ()

    def _ids(self, text: str) -> Sequence[int]:
        return self.tokenizer(text, add_special_tokens=False)["input_ids"] if text else ()

    def _prefix(self, solution: str, end: int) -> tuple[int, ...]:
        encoded = self.tokenizer(solution, add_special_tokens=False, return_offsets_mapping=True)
        pairs = zip(encoded["input_ids"], encoded["offset_mapping"], strict=True)
        kept: list[int] = []
        for token, (_, token_end) in pairs:
            if token_end > end:
                break
            kept.append(token)
        return tuple(kept)


def _rest(problem: Problem, given: str) -> str:
    """What the canonical solution has behind its beginning ``given``."""
    solution = problem.canonical_solution or ""
    if solution and not solution.startswith(given):
        raise ConfigError(
            f"prompt.format = 'completion': the solution of problem {problem.id!r} does not begin"
            " with its starter code"
        )
    return solution[len(given) :]
