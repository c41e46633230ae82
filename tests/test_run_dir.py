"""Run directories: one writer, logs that rewind, and one recipe."""

from dataclasses import replace
from pathlib import Path

import pytest

from stepcoder_jax.config import CheckpointConfig, RunConfig, SFTConfig
from stepcoder_jax.run_dir import RunDir, RunDirError, read_config


def test_logs_are_cut_back_to_a_checkpoints_marks(tmp_path: Path) -> None:
    run = RunDir.open(RunConfig(run_dir=tmp_path))
    run.append("metrics", {"phase": "sft", "step": 1})
    marks = run.marks()
    run.append("metrics", {"phase": "sft", "step": 2})
    run.append("samples", {"step": 2, "response": "é"})
    assert run.last("metrics", phase="sft")["step"] == 2
    run.rewind(marks)
    assert run.last("metrics", phase="sft")["step"] == 1
    assert run.marks() == marks == {"metrics": marks["metrics"], "samples": 0}
    run.close()


def test_the_recipe_is_kept_in_full(tmp_path: Path) -> None:
    config = RunConfig(run_dir=tmp_path, seed=3)
    RunDir.open(config).close()
    assert read_config(tmp_path) == config


def test_a_second_process_is_kept_out_until_the_first_has_closed(tmp_path: Path) -> None:
    config = RunConfig(run_dir=tmp_path)
    first = RunDir.open(config)
    with pytest.raises(RunDirError, match="in use by another run"):
        RunDir.open(config)
    first.close()
    RunDir.open(config).close()


def test_another_recipe_is_refused_with_the_difference(tmp_path: Path) -> None:
    RunDir.open(RunConfig(run_dir=tmp_path)).close()
    with pytest.raises(RunDirError, match=r"-\s+steps: 0 \| \+\s+steps: 5"):
        RunDir.open(RunConfig(run_dir=tmp_path, sft=SFTConfig(steps=5)))


def test_a_longer_run_and_other_checkpoint_habits_are_the_same_recipe(tmp_path: Path) -> None:
    config = RunConfig(run_dir=tmp_path)
    RunDir.open(config).close()
    longer = replace(config, iterations=9, checkpoint=CheckpointConfig(every=1))
    RunDir.open(longer).close()
    assert read_config(tmp_path) == longer


def test_a_run_goes_on_with_its_executor_elsewhere(tmp_path: Path) -> None:
    config = RunConfig(run_dir=tmp_path)
    RunDir.open(config).close()
    settings = replace(config.executor, backend="ray", ray_address="head:6379", slots=3)
    moved = replace(config, executor=settings)
    RunDir.open(moved).close()
    with pytest.raises(RunDirError, match="wall_s"):
        RunDir.open(replace(config, executor=replace(settings, wall_s=9.0)))


def test_what_is_no_run_directory_is_named(tmp_path: Path) -> None:
    with pytest.raises(RunDirError, match="not a run directory"):
        read_config(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(RunDirError, match="cannot be made"):
        RunDir.open(RunConfig(run_dir=tmp_path / "file"))


def test_evaluations_are_kept_by_label(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    assert run.evaluation("before:a") is None
    run.keep_evaluation("before:a", {"pass@1": 0.5})
    run.keep_evaluation("after:a", {"pass@1": 0.75})
    assert run.evaluation("before:a") == {"pass@1": 0.5}
