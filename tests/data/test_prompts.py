"""Prompts: exact texts, prefixes on token boundaries, supervised examples."""

import pytest
from stepcoder_executor import AssertionTests, IoTests

from stepcoder_jax.config import ConfigError, CurriculumConfig, PromptConfig, RunConfig
from stepcoder_jax.data.builtin import builtin_problems
from stepcoder_jax.data.prompts import PromptBuilder
from stepcoder_jax.data.requirement import requirement
from stepcoder_jax.data.training_set import make_training_set
from stepcoder_jax.eval_styles import STYLES
from stepcoder_jax.model.token_bytes import token_bytes
from stepcoder_jax.model.tokenizer import train_tokenizer
from stepcoder_jax.recipe import override as override_config
from stepcoder_jax.stages import plan_stages
from stepcoder_jax.types import Problem, Prompt

PROBLEMS = builtin_problems("train", count=90)
TOKENIZER = train_tokenizer(
    [p.question + "\n" + (p.canonical_solution or "") for p in PROBLEMS], 400
)
BYTES = token_bytes(TOKENIZER)
PLAIN = PromptBuilder(tokenizer=TOKENIZER, config=PromptConfig())


def problem(**changes: object) -> Problem:
    fields = {
        "id": "p",
        "question": " Add one. ",
        "difficulty": "introductory",
        "starter_code": "",
        "canonical_solution": "def f(n):\n    return n + 1",
        "tests": IoTests(fn_name="f", inputs=([1],), outputs=(2,)),
        "source": "mine",
    }
    return Problem(**{**fields, **changes})


def test_the_requirement_says_how_the_answer_is_called() -> None:
    assert requirement(problem(), 3) == "Add one.\nWrite the function `f`."
    assert requirement(problem(starter_code="def f(n):\n"), 3) == "Add one.\ndef f(n):"
    stdin = IoTests(fn_name=None, inputs=("1\n",), outputs=("2\n",))
    expected = "Add one.\nRead standard input and write standard output."
    assert requirement(problem(tests=stdin), 3) == expected
    asserts = AssertionTests(assertions=("assert f(1) == 2", "assert f(2) == 3"), setup="")
    text = requirement(problem(tests=asserts), 1)
    assert text == "Add one.\nYour code should pass these tests:\nassert f(1) == 2"


def test_a_function_that_reads_standard_input_is_to_be_called() -> None:
    starter = "def FUNC():"
    stdin = IoTests(fn_name=None, inputs=("1\n",), outputs=("2\n",))
    asked = problem(tests=stdin, starter_code=starter)
    told = "Read standard input and write standard output in the function `FUNC`, and call it."
    assert requirement(asked, 0) == f"Add one.\n{told}\n{starter}"


def test_a_plain_prompt_and_its_example_are_the_text_one_expects() -> None:
    prompt, example = PLAIN.prompt(problem()), PLAIN.example(problem())
    head = "Add one.\nWrite the function `f`.\nAnswer:\n"
    assert BYTES.text(prompt.tokens) == head
    assert prompt.prefix == ()
    assert BYTES.text(example.tokens) == head + "def f(n):\n    return n + 1"
    assert example.tokens[-1] == TOKENIZER.eos_token_id
    assert example.tokens[: -example.answer_tokens] == prompt.tokens


def test_a_prefix_ends_where_the_solutions_own_tokens_do() -> None:
    config = CurriculumConfig()
    for p in PROBLEMS:
        answer = PLAIN.example(p).tokens[-PLAIN.example(p).answer_tokens :]
        for prefix in plan_stages(p.id, p.canonical_solution, config).prefixes:
            prompt = PLAIN.prompt(p, len(prefix))
            assert answer[: prompt.prefix_tokens] == prompt.prefix
            text = BYTES.text(prompt.prefix)
            # At most the line break (with indentation in one token) is left to the response.
            assert prefix.startswith(text)
            assert prefix[len(text) :].strip() == ""


def test_chat_needs_a_template_and_puts_the_answer_in_the_assistants_turn() -> None:
    with pytest.raises(ConfigError, match=r"prompt.format.*chat template"):
        PromptBuilder(tokenizer=TOKENIZER, config=PromptConfig(format="chat"))
    tokenizer = train_tokenizer(["user assistant"], 300)
    tokenizer.chat_template = (
        "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}"
        "{% if add_generation_prompt %}[assistant]{% endif %}"
    )
    builder = PromptBuilder(
        tokenizer=tokenizer,
        config=PromptConfig(format="chat", answer_start="```python\n", answer_end="\n```"),
    )
    text = token_bytes(tokenizer).text
    head = "[user]Add one.\nWrite the function `f`.[assistant]```python\n"
    assert text(builder.prompt(problem()).tokens) == head
    assert text(builder.example(problem()).tokens) == head + "def f(n):\n    return n + 1\n```"


START = 'def f(n):\n    """Add one."""'
COMPLETED = START + "\n    if n:\n        return n + 1\n    return 1"


def test_a_completion_prompt_is_the_programs_beginning() -> None:
    builder = PromptBuilder(tokenizer=TOKENIZER, config=STYLES["completion"])
    asked = problem(starter_code=START, canonical_solution=COMPLETED)
    prompt = builder.prompt(asked)
    assert BYTES.text(prompt.tokens) == BYTES.text(prompt.prefix) == START
    example = builder.example(asked)
    assert BYTES.text(example.tokens) == COMPLETED
    assert example.tokens[: -example.answer_tokens] == prompt.tokens
    # A curriculum's prefix goes on from there; one that is shorter gives nothing away.
    end = len(START) + len("\n    if n:")
    assert BYTES.text(builder.prompt(asked, end).prefix) == COMPLETED[:end]
    assert builder.prompt(asked, 5) == prompt


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({}, "'p' has no starter code"),
        ({"starter_code": "def g():"}, "'p' does not begin with its starter code"),
    ],
)
def test_what_cannot_be_completed_is_refused(changes: dict, named: str) -> None:
    builder = PromptBuilder(tokenizer=TOKENIZER, config=STYLES["completion"])
    with pytest.raises(ConfigError, match=named):
        builder.example(problem(**changes))


def test_mbpp_s_own_prompt_with_and_without_solved_tasks() -> None:
    asserts = AssertionTests(assertions=("assert f(1) == 2", "assert f(2) == 3"), setup="")
    asked = problem(tests=asserts)
    shot = problem(
        question="Add two.",
        canonical_solution="def g(n):\n    return n + 2",
        tests=AssertionTests(assertions=("assert g(1) == 3",), setup=""),
    )
    alone = PromptBuilder(tokenizer=TOKENIZER, config=STYLES["mbpp"])
    expected = (
        "You are an expert Python programmer, and here is your task: Add one. Your code should"
        " pass these tests:\n\nassert f(1) == 2\nassert f(2) == 3\n[BEGIN]\n"
    )
    assert BYTES.text(alone.prompt(asked).tokens) == expected
    assert BYTES.text(alone.example(asked).tokens) == (
        expected + "def f(n):\n    return n + 1\n[DONE]"
    )
    shown = PromptBuilder(tokenizer=TOKENIZER, config=STYLES["mbpp-3shot"], shots=(shot,))
    solved = (
        "You are an expert Python programmer, and here is your task: Add two. Your code should"
        " pass these tests:\n\nassert g(1) == 3\n[BEGIN]\ndef g(n):\n    return n + 2\n[DONE]\n\n"
    )
    assert BYTES.text(shown.prompt(asked).tokens) == solved + expected
    with pytest.raises(ConfigError, match="'p' has no assertions"):
        alone.prompt(problem())


def test_a_check_that_says_nothing_is_not_quoted() -> None:
    checked = AssertionTests(assertions=("check(f)",), setup="def check(candidate): ...")
    asked = problem(tests=checked, starter_code="def f(n):")
    assert requirement(asked, 3) == "Add one.\ndef f(n):"


@pytest.mark.parametrize(
    "limit", ["--rollout.prompt_buckets=[120]", "--data.max_prompt_tokens=120"]
)
def test_what_does_not_fit_the_static_shapes_is_left_out_and_counted(limit: str) -> None:
    config = override_config(RunConfig(), [limit, "--sampling.max_new_tokens=60"])
    data = make_training_set(PROBLEMS, PLAIN, config)
    left_out = [i for ids in data.left_out.values() for i in ids]
    assert len(data.problems) + len(left_out) == len(PROBLEMS)
    assert left_out
    assert data.problems
    assert max(len(p.tokens) for prompts in data.prompts for p in prompts) <= 120
    assert max(PLAIN.example(p).answer_tokens for p in data.problems) <= 60
    assert [len(p) for p in data.prompts] == [len(c.prefixes) for c in data.curricula]


def test_a_text_of_megabytes_is_left_out_without_being_tokenised(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    long = problem(id="long", question="word " * 400_000)
    config = override_config(RunConfig(), ["--data.max_prompt_tokens=120"])
    made = PromptBuilder.prompt

    def guarded(self: PromptBuilder, asked: Problem, prefix_end: int = 0) -> Prompt:
        assert asked.id != "long"
        return made(self, asked, prefix_end)

    monkeypatch.setattr(PromptBuilder, "prompt", guarded)
    data = make_training_set([long, *PROBLEMS], PLAIN, config)
    assert "long" in next(iter(data.left_out.values()))
    assert data.problems


@pytest.mark.parametrize("most", [1, 20, 120])
def test_what_is_surely_too_long_is(most: int) -> None:
    every = [*PROBLEMS, problem(question="x" * 100_000), problem(question="a " * 50_000)]
    said = [asked for asked in every if PLAIN.is_too_long(asked, most)]
    assert len(said) >= 2
    assert all(len(PLAIN.prompt(asked).tokens) > most for asked in said)
    begun = PromptBuilder(tokenizer=TOKENIZER, config=STYLES["completion"])
    assert not begun.is_too_long(problem(question="x" * 100_000, starter_code="def f(n):"), 10)
    assert begun.is_too_long(problem(starter_code="#" * 100_000 + "\ndef f(n):"), 10)
