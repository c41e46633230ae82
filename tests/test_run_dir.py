"""Run directories: one writer, logs that rewind, and one recipe."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stepcoder_jax.config import (
    CheckpointConfig,
    DataConfig,
    LoRAConfig,
    MeshConfig,
    RunConfig,
    SFTConfig,
)
from stepcoder_jax.recipe import encode_config
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


def begin(config: RunConfig) -> None:
    """Leaves a directory in which the recipe has done something."""
    run = RunDir.open(config)
    run.append("metrics", {"phase": "sft", "step": 1})
    run.close()


def test_a_recipe_that_was_refused_before_any_work_does_not_bind_the_next(tmp_path: Path) -> None:
    refused = RunConfig(run_dir=tmp_path, sft=SFTConfig(steps=1))
    for _ in range(2):
        run = RunDir.open(refused)
        run.tokenizer.mkdir(exist_ok=True)
        run.close()
    assert run.tokenizer.exists()
    mended = RunConfig(run_dir=tmp_path, sft=SFTConfig(steps=2))
    begin(mended)
    assert read_config(tmp_path) == mended
    # Made of another recipe's texts, and of its size.
    assert not run.tokenizer.exists()
    with pytest.raises(RunDirError, match="another recipe"):
        RunDir.open(RunConfig(run_dir=tmp_path, sft=SFTConfig(steps=3)))


@pytest.mark.parametrize(
    ("mended", "is_kept"),
    [({"sft": SFTConfig(steps=2)}, True), ({"seed": 1}, False)],
    ids=["same_problems", "others"],
)
def test_what_solutions_did_is_kept_for_a_recipe_with_the_same_problems(
    tmp_path: Path, mended: dict[str, Any], is_kept: bool
) -> None:
    run = RunDir.open(RunConfig(run_dir=tmp_path, sft=SFTConfig(steps=1)))
    run.write_json("verified.json", {"dropped": {}})
    run.close()
    RunDir.open(RunConfig(run_dir=tmp_path, **mended)).close()
    assert (tmp_path / "verified.json").exists() == is_kept


def test_another_recipe_is_refused_with_the_difference(tmp_path: Path) -> None:
    begin(RunConfig(run_dir=tmp_path))
    other = RunConfig(
        run_dir=tmp_path, sft=SFTConfig(steps=5), data=DataConfig(evaluate={"a": "b"})
    )
    with pytest.raises(RunDirError) as caught:
        RunDir.open(other)
    assert "sft.steps: 0 → 5" in str(caught.value)
    assert "data.evaluate.a: nothing → 'b'" in str(caught.value)
    assert "--allow-changes" in str(caught.value)


def test_changes_that_are_allowed_are_named_and_the_old_recipe_is_kept(tmp_path: Path) -> None:
    recipes = [RunConfig(run_dir=tmp_path, sft=SFTConfig(steps=n)) for n in (1, 2, 3)]
    begin(recipes[0])
    for wanted in recipes[1:]:
        run = RunDir.open(wanted, allow_changes=True)
        assert run.changes == (f"sft.steps: {wanted.sft.steps - 1} → {wanted.sft.steps}",)
        assert read_config(tmp_path) != wanted
        run.adopt(wanted)
        run.close()
        assert read_config(tmp_path) == wanted
    kept = [(tmp_path / f"config.{n}.yaml").read_text() for n in (1, 2)]
    assert kept == [encode_config(c) for c in recipes[:2]]
    again = RunDir.open(recipes[2], allow_changes=True)
    assert again.changes == ()
    again.adopt(recipes[2])
    again.close()
    assert not (tmp_path / "config.3.yaml").exists()


@pytest.mark.parametrize(
    ("phase", "change"),
    [
        ("sft", RunConfig(seed=1)),
        ("sft", RunConfig(lora=LoRAConfig(rank=2))),
        ("ppo", RunConfig(sft=SFTConfig(steps=5))),
    ],
)
def test_what_checkpoints_began_from_cannot_change(
    tmp_path: Path, phase: str, change: RunConfig
) -> None:
    begin(RunConfig(run_dir=tmp_path))
    wanted = replace(change, run_dir=tmp_path)
    RunDir.open(wanted, allow_changes=True).close()
    RunDir(tmp_path).checkpoints(phase).mkdir(parents=True)
    with pytest.raises(RunDirError, match="cannot change"):
        RunDir.open(wanted, allow_changes=True)


def test_a_line_that_a_kill_cut_off_is_dropped(tmp_path: Path) -> None:
    run = RunDir.open(RunConfig(run_dir=tmp_path))
    run.append("metrics", {"phase": "sft", "step": 1})
    run.close()
    whole = (tmp_path / "metrics.jsonl").read_text()
    (tmp_path / "metrics.jsonl").write_text(whole + '{"phase": "sft", "st')
    RunDir.open(RunConfig(run_dir=tmp_path)).close()
    assert (tmp_path / "metrics.jsonl").read_text() == whole


def test_a_phase_without_a_checkpoint_begins_its_logs_anew(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    run.append("metrics", {"phase": "sft", "loss": "é"})
    run.append("metrics", {"phase": "eval", "label": "before"})
    before = run.marks()
    run.append("metrics", {"phase": "ppo", "step": 1})
    run.append("samples", {"step": 1})
    run.rewind_before("ppo")
    assert run.marks() == before
    assert run.has("metrics", {"phase": "eval", "label": "before"})
    assert not run.has("metrics", {"phase": "ppo"})


def test_a_longer_run_and_other_checkpoint_habits_are_the_same_recipe(tmp_path: Path) -> None:
    config = RunConfig(run_dir=tmp_path)
    begin(config)
    longer = replace(config, iterations=9, checkpoint=CheckpointConfig(every=1))
    RunDir.open(longer).close()
    assert read_config(tmp_path) == longer


def test_a_run_goes_on_with_executor_and_mesh_elsewhere(tmp_path: Path) -> None:
    config = RunConfig(run_dir=tmp_path)
    begin(config)
    settings = replace(config.executor, backend="ray", ray_address="head:6379", slots=3)
    moved = replace(config, executor=settings, mesh=MeshConfig(fsdp=2))
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
