"""Finding the program in an answer."""

import pytest

from stepcoder_jax.extract import extract

DOCUMENTED = 'def f():\n    """\n    ```\n    f()\n    ```\n    """'


@pytest.mark.parametrize(
    ("answer", "program"),
    [
        ("x = 1", "x = 1"),
        ("Here:\n```python\nx = 1\ny = 2\n```\nDone.", "x = 1\ny = 2"),
        ("```\nx = 1\n```", "x = 1"),
        ("```Python \nx = 1\n```", "x = 1"),
        ("```python\nx = 1", "x = 1"),
        ("```python\n```", ""),
        ("```python", ""),
        ("```sh\npip install a\n```\nthen\n```py\nx = 1\n```", "x = 1"),
        ("```\nx = 1\n```\n```\ny = 2\n```", "x = 1"),
        ("```python\nx = 1\n```\n```python\ny = 2\n```", "x = 1"),
        (f"```python\n{DOCUMENTED}\n```", DOCUMENTED),
        ("Use `f` and ```g``` inline.\n```python\nx = '```'\n```", "x = '```'"),
        ("é\n```python\nx = 'ü'\n```\né", "x = 'ü'"),
    ],
)  # fmt: skip
def test_the_first_python_block_else_the_first_else_everything(answer: str, program: str) -> None:
    assert extract(answer, "search") == program


@pytest.mark.parametrize(
    ("answer", "program"),
    [
        ("x = 1\n```\nThat was it.\n```python\ny\n```", "x = 1"),
        ("```\nmore", ""),
        ("x = 1", "x = 1"),
    ],
)
def test_an_answer_that_begins_inside_a_block_ends_with_it(answer: str, program: str) -> None:
    assert extract(answer, "inside") == program


def test_whole_is_whole() -> None:
    assert extract("```python\nx\n```", "none") == "```python\nx\n```"
