"""Steps that are not finite, or have nothing to train on: written out, counted, not taken."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stepcoder_executor import Verdict
from test_train import arrays, log, recipe

from stepcoder_jax import ppo
from stepcoder_jax.config import PPOConfig, RunConfig
from stepcoder_jax.learner import CriticKind
from stepcoder_jax.nonfinite import BrokenStep, broken_statistic, stop_or_skip
from stepcoder_jax.ppo_metrics import summarise
from stepcoder_jax.progress import Display
from stepcoder_jax.recipe import override
from stepcoder_jax.rollout import Rollout, make_rollout
from stepcoder_jax.run_dir import read_config
from stepcoder_jax.stop import StopRequest
from stepcoder_jax.train import train
from stepcoder_jax.trainer import taken_part
from stepcoder_jax.worker import Attempt

EXPLODES = "--policy_optimizer.learning_rate=1e30"
BROKEN = BrokenStep(iteration=3, step=2, statistic="loss", value="nan", problem_ids=("a",))


def run(folder: Path, *overrides: str, iterations: int = 2) -> RunConfig:
    config = override(
        recipe(folder, iterations=iterations), ["--data.evaluate={}", "--sft.steps=0", *overrides]
    )
    train(config, Display(), StopRequest())
    return config


def ppo_rows(folder: Path) -> list[dict[str, Any]]:
    for line in (folder / "metrics.jsonl").read_text().splitlines():
        json.loads(line, parse_constant=pytest.fail)
    return [row for row in log(folder) if row["phase"] == "ppo"]


def test_a_policy_that_explodes_stops_the_run_with_everything_written_out(tmp_path: Path) -> None:
    with pytest.raises(FloatingPointError) as caught:
        run(tmp_path, EXPLODES)
    folder = tmp_path / "nonfinite" / "1-2"
    for part in ("iteration 1, step 2", str(folder), "learning_rate", "--allow-changes"):
        assert part in str(caught.value)
    step = json.loads((folder / "step.json").read_text())
    assert (step["iteration"], step["step"], step["statistic"]) == (1, 2, "policy_grad_norm")
    assert step["statistic"] in str(caught.value)
    with np.load(folder / "batch.npz") as batch:
        assert batch["tokens"].shape == batch["advantages"].shape
        assert len(batch["tokens"]) == len(step["problem_ids"]) == 2
        assert batch["is_response"].any()
    assert (folder / "config.yaml").read_text() == (tmp_path / "config.yaml").read_text()
    assert read_config(folder).policy_optimizer.learning_rate == 1e30
    assert not (tmp_path / "metrics.jsonl").exists()


def test_too_many_skipped_steps_stop_the_run(tmp_path: Path) -> None:
    skips = ["--ppo.on_nonfinite=skip", "--ppo.max_skipped=1"]
    with pytest.raises(FloatingPointError, match=r"2 steps .* more than ppo.max_skipped = 1"):
        run(tmp_path, EXPLODES, *skips, iterations=4)
    assert [row["skipped_steps"] for row in ppo_rows(tmp_path)] == [1]


@pytest.fixture(params=[float("nan"), -float("inf")], ids=["nan", "inf"])
def broken_sampler(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """Every sample comes with a log-probability that is not finite."""

    def breaks(attempt: Attempt, **rest: Any) -> Rollout:
        logprobs = (request.param, *attempt.sample.logprobs[1:])
        sample = replace(attempt.sample, logprobs=logprobs)
        return make_rollout(replace(attempt, sample=sample), **rest)

    monkeypatch.setattr(ppo, "make_rollout", breaks)


@pytest.mark.usefixtures("broken_sampler")
def test_what_is_not_finite_before_any_step_is_named(tmp_path: Path) -> None:
    named = r"iteration 1, step scoring: log-probability sampled for problem"
    with pytest.raises(FloatingPointError, match=named):
        run(tmp_path)
    assert (tmp_path / "nonfinite" / "1-scoring" / "batch.npz").exists()


@pytest.mark.usefixtures("broken_sampler")
def test_batches_that_cannot_be_trained_on_leave_the_models_as_they_were(tmp_path: Path) -> None:
    run(tmp_path, "--ppo.on_nonfinite=skip", "--ppo.max_skipped=2")
    assert [row["skipped_steps"] for row in ppo_rows(tmp_path)] == [1, 2]
    assert_untouched(tmp_path)


@pytest.mark.parametrize(("kept", "empty"), [(0, 2), (1, 1)])
def test_programs_that_the_executor_lost_move_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept: int, empty: int
) -> None:
    """Of four rollouts in two mini-batches as many are left as ``kept`` says."""
    left = [0]

    def lose(attempt: Attempt, **rest: Any) -> Rollout:
        left[0] += 1
        if left[0] > kept:
            lost = replace(attempt.result, verdict=Verdict.EXECUTOR_ERROR)
            attempt = replace(attempt, result=lost)
        return make_rollout(attempt, **rest)

    monkeypatch.setattr(ppo, "make_rollout", lose)
    run(tmp_path, iterations=1)
    row = ppo_rows(tmp_path)[0]
    assert (row["dropped"], row["empty_steps"]) == (4 - kept, empty)
    assert int(arrays(tmp_path)["['step']"]) == 2 - empty
    if not kept:
        assert_untouched(tmp_path)


def assert_untouched(folder: Path) -> None:
    """No step was taken: moments are zero, and so is the critic's head."""
    found = arrays(folder)
    moments = {n: x for n, x in found.items() if ".mu" in n or ".nu" in n or "'mu'" in n}
    assert moments
    for name, value in {**moments, "head": found["['critic']['head']['kernel']"]}.items():
        np.testing.assert_array_equal(value, np.zeros_like(value), err_msg=name)
    assert int(found["['step']"]) == 0


def test_the_first_statistic_that_is_not_finite_is_named() -> None:
    yes, no = np.bool_(True), np.bool_(False)
    assert broken_statistic({"a": 1.0, "none": None}) is None
    assert broken_statistic({"a": 1.0, "b": np.inf, "c": np.nan}) == ("b", "inf")
    assert broken_statistic({"policy_is_finite": yes, "ratio_max": np.inf}) is None
    assert broken_statistic({"is_finite": no, "a": 1.0, "b": np.nan}) == ("b", "nan")
    assert broken_statistic({"policy_is_finite": no, "a": 1.0}) == ("policy_is_finite", "False")


@pytest.mark.parametrize(
    ("critic", "policy", "expected"),
    [
        ("separate", False, {"value_loss": 2.0, "critic_is_finite": True}),
        ("separate", True, {"policy_loss": 1.0, "policy_is_finite": True}),
        ("shared", False, {}),
    ],
)
def test_of_a_skipped_step_only_what_was_taken_is_logged(
    critic: CriticKind, policy: bool, expected: dict[str, Any]
) -> None:
    stats = {"policy_loss": 1.0, "policy_is_finite": policy}
    stats |= {"value_loss": 2.0, "critic_is_finite": not policy}
    part = taken_part(stats, critic)
    assert part == expected
    other = dict.fromkeys(stats, 3.0)
    assert summarise([part, other]) == {n: (expected.get(n, 3.0) + 3.0) / 2 for n in stats}


def test_a_skipped_step_is_said_and_one_too_many_stops() -> None:
    skip = PPOConfig(on_nonfinite="skip", max_skipped=2)
    assert "skipped (2 of at most 2)" in stop_or_skip(BROKEN, Path("d"), 2, skip)
    with pytest.raises(FloatingPointError, match=r"ppo\.max_skipped = 2"):
        stop_or_skip(BROKEN, Path("d"), 3, skip)
    with pytest.raises(FloatingPointError, match=r"iteration 3, step 2: loss = nan .*in d\)"):
        stop_or_skip(BROKEN, Path("d"), 1, PPOConfig())
