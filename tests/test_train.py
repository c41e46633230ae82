"""A whole recipe on a toy model: it runs, stops and resumes bit for bit."""

import json
import shutil
import signal
import warnings
from contextlib import closing
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from orbax.checkpoint import v1 as ocp

from stepcoder_jax.checkpoint import CheckpointError, CheckpointStore
from stepcoder_jax.config import ConfigError, RunConfig
from stepcoder_jax.data.builtin import builtin_problems
from stepcoder_jax.model.load import ModelLoadError
from stepcoder_jax.progress import Display
from stepcoder_jax.recipe import override
from stepcoder_jax.run import prepare, say_left_out
from stepcoder_jax.run_dir import RunDir, RunDirError, read_config
from stepcoder_jax.stop import Interrupted, StopRequest
from stepcoder_jax.train import train
from stepcoder_jax.workshop import executor

ITERATIONS = 3
RECIPE = [
    "--model.shape=tiny-test",
    "--model.vocab_size=300",
    "--data.train_count=24",
    "--data.evaluate={heldout: builtin:heldout}",
    "--data.evaluate_count=3",
    "--data.verify=false",
    "--sft.steps=4",
    "--sft.batch=4",
    "--sft.row_tokens=160",
    "--sft.optimizer.learning_rate=0.01",
    "--rollout={problems: 2, samples: 2, prompt_buckets: [160], row_buckets: [170]}",
    "--sampling.max_new_tokens=100",
    "--sampling.chunk_tokens=20",
    "--sampling.slots=4",
    "--ppo={epochs: 1, minibatches: 2}",
    "--policy_optimizer.learning_rate=0.001",
    "--checkpoint={every: 1, sft_every: 2}",
    "--executor.slots=1",
]
TIMINGS = {"seconds", "tokens_per_s", "executor_hidden_fraction", "hidden_s"}


def recipe(folder: Path, iterations: int = ITERATIONS) -> RunConfig:
    return override(RunConfig(run_dir=folder, iterations=iterations), RECIPE)


class StopAfter(StopRequest):
    """Asks for a stop at the n-th place where the run looks."""

    def __init__(self, looks: int) -> None:
        super().__init__()
        self.left = looks

    def check(self) -> None:
        self.left -= 1
        if self.left == 0:
            self.signal = signal.SIGTERM
        super().check()


def log(folder: Path) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in row.items() if k not in TIMINGS} for row in rows]


def arrays(folder: Path) -> dict[str, np.ndarray]:
    """Every array of the newest PPO checkpoint, by path, and the curriculum."""
    store = ocp.training.Checkpointer(folder / "checkpoints" / "ppo")
    with warnings.catch_warnings():
        # Read as it lies there, without a model's shardings: orbax warns that it takes the file's.
        warnings.simplefilter("ignore", UserWarning)
        state = store.load_checkpointables()["state"]
    host = store.checkpointables_metadata(store.latest.step).custom_metadata["host"]
    store.close()
    leaves = jax.tree_util.tree_flatten_with_path(state)[0]
    found = {jax.tree_util.keystr(path): np.asarray(x) for path, x in leaves}
    return found | {"curriculum": json.loads(host)["curriculum"]}


def assert_same_run(a: Path, b: Path) -> None:
    assert log(a) == log(b)
    assert (a / "samples.jsonl").read_text() == (b / "samples.jsonl").read_text()
    left, right = arrays(a), arrays(b)
    assert left.keys() == right.keys()
    for name, value in left.items():
        np.testing.assert_array_equal(value, right[name], err_msg=name)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    train(recipe(folder), Display(), StopRequest())
    return folder


def test_sft_imitates_the_demonstrations_and_ppo_keeps_to_its_own_problems(tmp_path: Path) -> None:
    demonstrations = ["--data.demonstrations=builtin:unreviewed", "--data.demonstrations_count=8"]
    config = override(recipe(tmp_path, iterations=1), [*demonstrations, "--data.verify=true"])
    with closing(RunDir.open(config)) as folder, executor(config.executor) as client:
        run, again = (prepare(config, folder, client, Display(), StopRequest()) for _ in range(2))
    assert list(run.data.demonstrations) == builtin_problems("unreviewed", count=8)
    assert list(run.data.problems) == builtin_problems("train", count=24)
    # What the solutions took is measured once: a resumed run keeps to the same limits.
    assert set(run.data.reference_s) == {p.id for p in run.data.problems}
    assert run.data.reference_s == again.data.reference_s


def test_a_set_without_a_problem_of_the_levels_wanted_is_named(tmp_path: Path) -> None:
    row = {
        "id": "p",
        "question": "",
        "difficulty": "introductory",
        "starter_code": "",
        "canonical_solution": None,
        "tests": {"fn_name": "f", "inputs": [[1]], "outputs": [1]},
        "source": "mine",
    }
    (tmp_path / "mine.jsonl").write_text(json.dumps(row))
    overrides = [f"--data.train={tmp_path / 'mine.jsonl'}", "--data.difficulties=[competition]"]
    config = override(recipe(tmp_path / "run"), overrides)
    with pytest.raises(ConfigError, match=r"mine\.jsonl' has no problem .*competition"):
        train(config, Display(), StopRequest())


def test_a_run_leaves_everything_it_promises(whole: Path) -> None:
    summary = json.loads((whole / "summary.json").read_text())
    assert summary["steps"] == ITERATIONS
    assert set(summary["pass@1_before"]) == set(summary["pass@1_after"]) == {"heldout"}
    rows = log(whole)
    assert [r["step"] for r in rows if r["phase"] == "ppo"] == [1, 2, 3]
    assert [r["label"] for r in rows if r["phase"] == "eval"] == ["after_sft", "after_ppo"]
    assert (whole / "report.html").read_text().startswith("<!")
    for row in rows:
        if row["phase"] == "ppo":
            assert row["logprob_gap"] < 1e-4
            assert row["ratio_min"] <= 1 <= row["ratio_max"]


# Where a stop is asked for: in SFT, between the chunks of a rollout, at the very beginning.
@pytest.mark.parametrize("looks", [(3,), (1, 9), (15, 30)])
def test_a_run_that_was_stopped_and_resumed_is_the_run_that_was_not(
    whole: Path, tmp_path: Path, looks: tuple[int, ...]
) -> None:
    for count in looks:
        with pytest.raises(Interrupted, match="SIGTERM"):
            train(recipe(tmp_path), Display(), StopAfter(count))
    train(recipe(tmp_path), Display(), StopRequest())
    assert_same_run(whole, tmp_path)


def test_a_run_made_longer_goes_on_where_it_ended(whole: Path, tmp_path: Path) -> None:
    train(recipe(tmp_path, iterations=2), Display(), StopRequest())
    before = [r for r in log(tmp_path) if r["phase"] == "ppo"]
    assert before == [r for r in log(whole) if r["phase"] == "ppo"][:2]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ("--policy_optimizer.name=momentum", "another model's"),
        ("--curriculum.enabled=false", "other problems"),
        ("--lora={rank: 2}", "cannot change"),
    ],
)
def test_a_change_that_the_checkpoint_cannot_bear_is_refused_and_leaves_the_run_as_it_was(
    whole: Path, tmp_path: Path, change: str, named: str
) -> None:
    shutil.copytree(whole, tmp_path / "run")
    kept = (tmp_path / "run" / "config.yaml").read_text()
    config = override(recipe(tmp_path / "run"), [change])
    with pytest.raises((CheckpointError, RunDirError), match=named):
        train(config, Display(), StopRequest(), allow_changes=True)
    assert (tmp_path / "run" / "config.yaml").read_text() == kept


def test_a_change_that_is_allowed_is_said(
    whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(whole, tmp_path / "run")
    changes = ["--ppo.clip_ratio=0.1", "--kl.beta=0.5"]
    config = override(recipe(tmp_path / "run", iterations=4), changes)
    train(config, Display(), StopRequest(), allow_changes=True)
    said = capsys.readouterr().err
    assert "CHANGED in this run: ppo.clip_ratio: 0.2 → 0.1" in said
    assert "CHANGED in this run: kl.beta: 0.05 → 0.5" in said
    assert read_config(tmp_path / "run") == config
    assert (tmp_path / "run" / "config.1.yaml").exists()
    rows = [r for r in log(tmp_path / "run") if r["phase"] == "ppo"]
    assert [r["step"] for r in rows] == [1, 2, 3, 4]
    assert [r["beta"] for r in rows] == pytest.approx([0.05, 0.05, 0.05, 0.5])


def test_buckets_shorter_than_every_prompt_are_refused_before_sft(tmp_path: Path) -> None:
    config = override(recipe(tmp_path), ["--data.max_prompt_tokens=2"])
    with pytest.raises(ConfigError, match="no problem fits"):
        train(config, Display(), StopRequest())
    assert not (tmp_path / "checkpoints").exists()


def test_a_model_that_is_not_there_is_missed_before_solutions_are_run(tmp_path: Path) -> None:
    config = override(recipe(tmp_path), ["--model.path=nowhere", "--data.verify=true"])
    with pytest.raises(ModelLoadError, match="nowhere: no such file"):
        train(config, Display(), StopRequest())
    assert not (tmp_path / "verified.json").exists()


def test_problems_that_are_left_out_are_named_up_to_ten(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = recipe(tmp_path)
    with closing(RunDir.open(config)) as folder, executor(config.executor) as client:
        run = prepare(config, folder, client, Display(), StopRequest())
    ids = [f"mine/{i}" for i in range(11)]
    capsys.readouterr()
    for some in (ids, ids[:10], ids[:1], []):
        say_left_out(run, "too long", some)
    ten = ", ".join(ids[:10])
    said = [f"11 problems: too long: {ten} and 1 more", f"10 problems: too long: {ten}"]
    assert capsys.readouterr().err.splitlines() == [*said, "1 problems: too long: mine/0"]


def test_weights_of_another_shape_are_refused(whole: Path, tmp_path: Path) -> None:
    store = CheckpointStore(whole / "checkpoints" / "ppo", keep=2)
    with pytest.raises(CheckpointError, match="another model"):
        store.restore_policy({"w": np.zeros(3, np.float32)})
    store.close()
