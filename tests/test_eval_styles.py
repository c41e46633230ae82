"""Prompts that have a name, and what does not go together in a prompt."""

import pytest

from stepcoder_jax.config import ConfigError, PromptConfig, RunConfig
from stepcoder_jax.eval_styles import STYLES


@pytest.mark.parametrize("style", STYLES)
def test_every_style_is_a_recipes_prompt(style: str) -> None:
    assert RunConfig(prompt=STYLES[style]).prompt == STYLES[style]


@pytest.mark.parametrize(
    ("prompt", "named"),
    [
        (PromptConfig(extract="fenced", stop=("\n```",)), r"prompt\.stop"),
        (PromptConfig(format="completion", extract="fenced"), r"prompt\.extract"),
        (PromptConfig(format="plain", shots=("mbpp/2",)), r"prompt\.shots"),
    ],
)
def test_what_does_not_go_together_is_refused(prompt: PromptConfig, named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        RunConfig(prompt=prompt)


def test_a_stop_at_the_fence_goes_with_an_answer_that_begins_inside_one() -> None:
    prompt = PromptConfig(extract="fenced", answer_start="```python\n", stop=("\n```",))
    assert RunConfig(prompt=prompt).prompt.opens_fence
