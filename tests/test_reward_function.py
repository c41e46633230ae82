"""Reward functions that users name: how they are found, and what they may answer."""

import copy
import math
import re
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from stepcoder_executor import IoTests, Result, Verdict

from stepcoder_jax import rewards
from stepcoder_jax.config import ConfigError, ExecutorSettings, RewardConfig
from stepcoder_jax.reward_function import Judge, RewardError, resolve_reward, token_weights
from stepcoder_jax.rewards import Outcome, Reward, Weight
from stepcoder_jax.types import Problem

DOCUMENTATION = Path(__file__).parent.parent / "docs" / "rewards.md"
STOPS, RUNS_ALL = ExecutorSettings(), ExecutorSettings(run_all=True)
ONE_CHARACTER = Weight(start=0, end=1, value=1.0)


def outcome(verdict: Verdict = Verdict.FAILED) -> Outcome:
    problem = Problem(
        id="p7",
        question="",
        difficulty="introductory",
        starter_code="",
        canonical_solution=None,
        tests=IoTests(fn_name="f", inputs=([1],), outputs=(2,)),
        source="test",
    )
    result = Result(id="0", verdict=verdict, tests=(), covered=(), wall_s=0.0)
    return Outcome(problem=problem, program="abcd", response_start=1, result=result)


def judge(answer: object, clip: float | None = None) -> Judge:
    config = RewardConfig(function="mine:always", clip=clip)
    return Judge(function=lambda outcome, reward: answer, config=config)


def untyped[T](record: T, **fields: object) -> T:
    """A record as a user's code may fill it, without the checks of types that tests have."""
    changed = copy.copy(record)
    for name, value in fields.items():
        object.__setattr__(changed, name, value)
    return changed


def resolve(path: str, executor: ExecutorSettings = STOPS) -> Judge:
    return resolve_reward(RewardConfig(function=path), executor)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, in which a user keeps modules."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


def test_the_default_is_the_score_of_the_verdict() -> None:
    found = resolve_reward(RewardConfig(), STOPS)
    assert found.function is rewards.verdict_score
    assert found(outcome()) == Reward(score=-0.3)


def test_a_module_of_the_users_in_the_current_folder_is_found(folder: Path) -> None:
    (folder / "users_own_rewards.py").write_text(
        "def short(outcome, reward):\n    return reward.passed - len(outcome.program)\n"
    )
    assert resolve("users_own_rewards:short")(outcome()) == Reward(score=-3.0)


def test_the_functions_that_the_documentation_shows_work(folder: Path) -> None:
    (shown,) = re.findall(r"```python\n(.*?)```", DOCUMENTATION.read_text(encoding="utf-8"), re.S)
    (folder / "shown_rewards.py").write_text(shown)
    assert resolve("shown_rewards:short_and_right")(outcome(Verdict.PASSED)).score == 1 - 0.004
    found = resolve("shown_rewards:first_line_twice")(outcome())
    assert found == Reward(score=-0.3, weights=(Weight(start=1, end=4, value=2.0),))


@pytest.mark.parametrize(
    ("path", "named"),
    [
        ("verdict_score", "looks like my_rewards:my_function"),
        ("stepcoder_jax.rewards:", "looks like"),
        ("stepcoder_jax.no_such:f", "no module 'stepcoder_jax.no_such'"),
        ("no_such_package.rewards:f", "no module 'no_such_package'"),
        ("stepcoder_jax.rewards:no_such", "has no 'no_such'"),
        ("stepcoder_jax.rewards:NEEDS_ALL_TESTS", "is str, not a function"),
        ("half_done:f", "cannot be imported: No module named 'not_there'"),
        ("misspelt:f", "cannot be imported: SyntaxError"),
        ("one_argument:f", "it must take two arguments, the outcome and the recipe's reward"),
    ],
)
def test_a_path_that_leads_nowhere_is_one_clear_error(folder: Path, path: str, named: str) -> None:
    (folder / "half_done.py").write_text("import not_there\n")
    (folder / "misspelt.py").write_text("def f(:\n")
    (folder / "one_argument.py").write_text("def f(outcome):\n    return 1.0\n")
    with pytest.raises(ConfigError) as error:
        resolve(path)
    assert str(error.value).startswith(f"reward.function = {path!r}: ")
    assert named in str(error.value)


@pytest.mark.parametrize("name", ["pass_ratio", "rltf"])
def test_what_counts_tests_must_have_them_all(name: str) -> None:
    with pytest.raises(ConfigError, match=rf"{name}.*executor.run_all = true"):
        resolve(f"stepcoder_jax.rewards:{name}")
    assert resolve(f"stepcoder_jax.rewards:{name}", RUNS_ALL).function is getattr(rewards, name)


def test_what_the_executor_could_not_judge_is_never_scored() -> None:
    def forbidden(outcome: Outcome, reward: RewardConfig) -> float:
        raise AssertionError("called")

    found = Judge(function=forbidden, config=RewardConfig())
    assert found(outcome(Verdict.EXECUTOR_ERROR)) is None


def test_a_number_is_a_score_and_none_drops() -> None:
    assert judge(2)(outcome()) == Reward(score=2.0)
    assert judge(np.float32(0.5))(outcome()) == Reward(score=0.5)
    assert judge(None)(outcome()) is None


def test_clip_bounds_every_score_on_both_sides_and_leaves_the_rest() -> None:
    scores = [judge(score, clip=0.8)(outcome()).score for score in (3.0, -0.3, -1.0)]
    assert scores == [0.8, -0.3, -0.8]
    weights = (Weight(start=0, end=1, value=9.0),)
    answer = Reward(score=3.0, weights=weights)
    assert judge(answer, clip=0.8)(outcome()) == replace(answer, score=0.8)


@pytest.mark.parametrize(
    ("answer", "named"),
    [
        (math.nan, "score nan"),
        (-math.inf, "score -inf"),
        ("high", "'high'"),
        (True, "True"),
        ((1.0, ()), r"\(1.0, \(\)\)"),
        (Reward(score=math.nan), "score nan"),
        (untyped(Reward(score=0), score=None), "None"),
        (untyped(Reward(score=0), weights=((0, 1, 2.0),)), r"\(0, 1, 2.0\): each must be a Weight"),
        (
            Reward(score=1, weights=(untyped(Weight(start=0, end=1, value=1), start=0.5),)),
            "whole numbers",
        ),
        (Reward(score=1, weights=(Weight(start=-1, end=2, value=1),)), "0 … 4"),
        (Reward(score=1, weights=(Weight(start=0, end=5, value=1),)), "0 … 4"),
        (Reward(score=1, weights=(Weight(start=3, end=2, value=1),)), "start <= end"),
        (Reward(score=1, weights=(Weight(start=0, end=2, value=-1),)), "at least 0"),
        (Reward(score=1, weights=(Weight(start=0, end=2, value=math.nan),)), "finite"),
    ],
)
def test_an_answer_that_cannot_be_used_names_the_function(answer: object, named: str) -> None:
    with pytest.raises(RewardError, match=rf"^reward.function = 'mine:always' gave .*{named}"):
        judge(answer)(outcome())


def test_a_functions_own_exception_comes_through_and_says_of_which_problem() -> None:
    def broken(outcome: Outcome, reward: RewardConfig) -> float:
        raise KeyError("there")

    with pytest.raises(KeyError) as error:
        Judge(function=broken, config=RewardConfig(function="mine:broken"))(outcome())
    assert error.value.__notes__ == ["in reward.function = 'mine:broken', of problem 'p7'"]


def test_a_tokens_weight_is_the_mean_of_its_characters() -> None:
    weights = [Weight(start=2, end=5, value=4.0), Weight(start=4, end=6, value=0.0)]
    # Characters count 1 1 4 4 0 0 1; the last two tokens wrote nothing of the program.
    spans = np.array([[0, 1], [1, 3], [3, 4], [4, 7], [7, 7], [7, 7]])
    found = token_weights(weights, 7, spans)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, [1, 2.5, 4, 1 / 3, 1, 1], rtol=1e-6)


def test_without_weights_every_token_counts_exactly_one() -> None:
    spans = np.array([[i * 7, i * 7 + 7] for i in range(3000)])
    assert (token_weights((), 21000, spans) == 1).all()
    assert token_weights((), 0, np.zeros((0, 2), np.int64)).shape == (0,)
