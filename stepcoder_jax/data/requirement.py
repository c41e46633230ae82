"""What a policy is asked, as text."""

from stepcoder_executor import AssertionTests, IoTests

from stepcoder_jax.config import ConfigError
from stepcoder_jax.data.entry_function import entry_function
from stepcoder_jax.problem import Problem


def requirement(problem: Problem, shown_tests: int) -> str:
    """The text a policy is asked with: question, how it is called, and what to begin from."""
    parts = [problem.question.strip()]
    start, tests = problem.starter_code.strip(), problem.tests
    shown = shown_assertions(problem, shown_tests)
    if shown:
        parts.append("\n".join(["Your code should pass these tests:", *shown]))
    elif isinstance(tests, IoTests) and tests.fn_name is None:
        parts.append(_where_it_reads(start))
    elif isinstance(tests, IoTests) and not start:
        parts.append(f"Write the function `{tests.fn_name}`.")
    if start:
        parts.append(problem.starter_code.rstrip())
    return "\n".join(parts)


def _where_it_reads(start: str) -> str:
    told = "Read standard input and write standard output"
    function = entry_function(start)
    # A function without parameters is called by nobody but the program itself.
    if function is None or function.takes_arguments:
        return f"{told}."
    return f"{told} in the function `{function.name}`, and call it."


def mbpp_task(problem: Problem, shown_tests: int) -> str:
    """MBPP's own prompt up to the code.

    Raises:
      ConfigError: the problem has no assertions.

    Source: Austin et al., Program Synthesis with Large Language Models (arXiv 2108.07732), §3.
    """
    shown = shown_assertions(problem, shown_tests)
    if not shown:
        raise ConfigError(
            f"prompt.format = 'mbpp': problem {problem.id!r} has no assertions to show"
        )
    tests = "\n".join(shown)
    return (
        "You are an expert Python programmer, and here is your task:"
        f" {problem.question.strip()} Your code should pass these tests:\n\n{tests}\n"
    )


def shown_assertions(problem: Problem, most: int) -> list[str]:
    """The assertions that a prompt quotes; ``check(f)``, which says nothing, is not one."""
    tests = problem.tests
    every = tests.assertions if isinstance(tests, AssertionTests) else ()
    return [text for text in every if text.startswith("assert")][:most]
