"""Variants on a toy model: mixed problems, weighted draws, a fixed prefix, users' rewards."""

import json
import sys
from pathlib import Path

import pytest
from test_train import RECIPE, StopAfter, arrays, assert_same_run, log

from stepcoder_jax.config import ConfigError, RunConfig
from stepcoder_jax.progress import Display
from stepcoder_jax.recipe import override
from stepcoder_jax.stop import Interrupted, StopRequest
from stepcoder_jax.train import train

LENGTH = "def length(outcome, reward):\n    return 2 + len(outcome.program)\n"


def recipe(folder: Path, *overrides: str, iterations: int = 2) -> RunConfig:
    start = RunConfig(run_dir=folder, iterations=iterations)
    return override(start, [*RECIPE, "--sft.steps=2", "--data.evaluate={}", *overrides])


def ppo_rows(folder: Path) -> list[dict]:
    return [row for row in log(folder) if row["phase"] == "ppo"]


def test_mixed_problems_and_weighted_draws_resume_bit_for_bit(tmp_path: Path) -> None:
    overrides = ["--curriculum.mix=0.5", "--data.weighting=conditionals"]
    whole, stopped = recipe(tmp_path / "whole", *overrides), recipe(tmp_path / "two", *overrides)
    train(whole, Display(), StopRequest())
    with pytest.raises(Interrupted):
        train(stopped, Display(), StopAfter(14))
    assert len(ppo_rows(stopped.run_dir)) == 1
    train(stopped, Display(), StopRequest())
    assert_same_run(whole.run_dir, stopped.run_dir)
    # One of two problems, each with two rollouts; the other one's group alone is counted.
    assert [row["mixed"] for row in ppo_rows(whole.run_dir)] == [2, 2]
    visits = arrays(whole.run_dir)["curriculum"]["visits"]
    assert sum(visits) == 2


def test_a_problem_that_is_mixed_in_begins_at_the_beginning_and_moves_nothing(
    tmp_path: Path,
) -> None:
    config = recipe(tmp_path, "--curriculum.mix=1", iterations=1)
    train(config, Display(), StopRequest())
    (row,) = ppo_rows(tmp_path)
    assert (row["mixed"], row["stage0_share"], row["stage_mean"]) == (4, 1.0, 0.0)
    state = arrays(tmp_path)["curriculum"]
    assert sum(state["visits"]) == sum(state["pass_rate"]) == 0
    assert max(state["stage"]) > 0


def test_with_a_fixed_fraction_everything_has_a_prefix_and_one_stage(tmp_path: Path) -> None:
    config = recipe(tmp_path, "--curriculum.start=fixed_fraction", iterations=1)
    train(config, Display(), StopRequest())
    (row,) = ppo_rows(tmp_path)
    assert (row["mixed"], row["stage0_share"], row["stage_mean"]) == (0, 0.0, 0.0)
    assert len(row["stage_histogram"]) == 1
    samples = [json.loads(line) for line in (tmp_path / "samples.jsonl").read_text().splitlines()]
    assert all(sample["prefix"].startswith(("def ", "import ", "n")) for sample in samples)


def test_a_users_reward_function_scores_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "length_rewards.py").write_text(LENGTH)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    function = "--reward.function=length_rewards:length"
    train(recipe(tmp_path / "run", function, iterations=1), Display(), StopRequest())
    (row,) = ppo_rows(tmp_path / "run")
    assert row["reward_mean"] > 1


def test_an_unknown_reward_is_one_error_before_anything_is_made(tmp_path: Path) -> None:
    config = recipe(tmp_path / "run", "--reward.function=stepcoder_jax.rewards:nope")
    with pytest.raises(ConfigError, match=r"^reward.function = 'stepcoder_jax.rewards:nope': "):
        train(config, Display(), StopRequest())
    assert not (tmp_path / "run").exists()
