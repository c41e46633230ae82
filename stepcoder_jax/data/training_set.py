"""Training problems with their curricula, and the prompt of every stage made ahead of time."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from stepcoder_jax.config import RunConfig
from stepcoder_jax.data.prompts import PromptBuilder
from stepcoder_jax.stages import ProblemCurriculum, plan_stages
from stepcoder_jax.types import Problem, Prompt


@dataclass(frozen=True, kw_only=True)
class TrainingSet:
    """Problems that PPO trains on.

    Attributes:
      problems: those that fit.
      curricula: of each problem.
      prompts: of each problem, by stage.
      left_out: why and which: reason -> ids of problems that were given but do not fit.
    """

    problems: tuple[Problem, ...]
    curricula: tuple[ProblemCurriculum, ...]
    prompts: tuple[tuple[Prompt, ...], ...]
    left_out: dict[str, tuple[str, ...]]


def make_training_set(
    problems: Sequence[Problem], builder: PromptBuilder, config: RunConfig
) -> TrainingSet:
    """Plans every problem's curriculum and leaves out what does not fit the static shapes."""
    longest = config.longest_prompt
    kept: list[tuple[Problem, ProblemCurriculum, tuple[Prompt, ...]]] = []
    left_out: dict[str, tuple[str, ...]] = {}
    for problem in problems:
        plan = plan_stages(problem.id, problem.canonical_solution, config.curriculum)
        is_too_long = builder.is_too_long(problem, longest)
        prefixes = () if is_too_long else plan.prefixes
        prompts = tuple(builder.prompt(problem, len(prefix)) for prefix in prefixes)
        reason = _misfit(problem, prompts, builder, longest, config.sampling.max_new_tokens)
        if reason is None:
            kept.append((problem, plan, prompts))
        else:
            left_out[reason] = (*left_out.get(reason, ()), problem.id)
    kept = kept[: config.data.ppo_count]
    return TrainingSet(
        problems=tuple(problem for problem, _, _ in kept),
        curricula=tuple(plan for _, plan, _ in kept),
        prompts=tuple(prompts for _, _, prompts in kept),
        left_out=left_out,
    )


def fitting(
    problems: Sequence[Problem], fits: Callable[[Problem], bool]
) -> tuple[list[Problem], list[str]]:
    """Problems that fit, and the ids of those that do not."""
    kept = [problem for problem in problems if fits(problem)]
    ids = {problem.id for problem in kept}
    return kept, [problem.id for problem in problems if problem.id not in ids]


def _misfit(
    problem: Problem,
    prompts: Sequence[Prompt],
    builder: PromptBuilder,
    longest_prompt: int,
    longest_response: int,
) -> str | None:
    """Why a problem is left out; without prompts, as it is too long to make them."""
    if not prompts or max(len(prompt.tokens) for prompt in prompts) > longest_prompt:
        return (
            f"prompt longer than {longest_prompt} tokens (data.max_prompt_tokens,"
            " rollout.prompt_buckets)"
        )
    if problem.canonical_solution is None:
        return None
    if builder.example(problem).answer_tokens > longest_response:
        return f"solution longer than {longest_response} tokens (sampling.max_new_tokens)"
    return None
