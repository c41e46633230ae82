"""The command line from outside: what it prints, its exit status, and errors in one line."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from stepcoder_jax import cli
from stepcoder_jax.recipe import load_config
from stepcoder_jax.run_dir import RunDir

ROW = {
    "id": "a/1",
    "question": "Add one.",
    "difficulty": "introductory",
    "starter_code": "def f(n):",
    "canonical_solution": "def f(n):\n    return n + 1",
    "tests": {"fn_name": "f", "inputs": [[1]], "outputs": [2]},
    "source": "mine",
}


def problems(folder: Path, *rows: dict) -> str:
    path = folder / "problems.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return str(path)


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    try:
        status = cli.main(arguments)
    except SystemExit as error:
        status = int(error.code or 0)
    out, err = capsys.readouterr()
    return status, out, err


@pytest.mark.parametrize(
    "command", ["", "train", "sft", "eval", "data", "bench", "export", "report"]
)
def test_every_command_has_help(capsys: pytest.CaptureFixture[str], command: str) -> None:
    status, out, _ = run(capsys, *command.split(), "--help")
    assert status == 0
    assert "usage: stepcoder" in out


def test_data_check_runs_the_solutions(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wrong = ROW | {"id": "a/2", "canonical_solution": "def f(n):\n    return n"}
    broken = ROW | {"id": "a/3", "canonical_solution": "def f(n:"}
    path = problems(tmp_path, ROW, wrong, broken)
    status, out, _ = run(capsys, "data", "check", "--problems", path, "--json")
    assert status == 0
    found = json.loads(out.splitlines()[-1])
    assert (found["problems"], found["kept"]) == (3, 1)
    assert found["reasons"] == {"failed": 1, "compile_error": 1}
    assert set(found["dropped"]) == {"a/2", "a/3"}


def test_a_reader_that_has_seen_enough_is_no_error() -> None:
    command = [sys.executable, "-m", "stepcoder_jax.cli", "data", "stats", "--problems"]
    with subprocess.Popen(
        [*command, "builtin:train"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as run:
        assert run.stdout is not None
        assert run.stderr is not None
        run.stdout.close()
        assert run.stderr.read() == b""
        assert run.wait(60) == cli.DONE


def test_data_stats_counts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = problems(tmp_path, ROW)
    status, out, _ = run(capsys, "data", "stats", "--problems", path, "--json")
    assert status == 0
    assert json.loads(out.splitlines()[-1])["style"] == {"call-based": 1}


@pytest.mark.parametrize(
    ("arguments", "status", "named"),
    [
        (["train", "--config", "nowhere.yaml"], 2, ["nowhere.yaml"]),
        (["train"], 2, ["--config"]),
        (["fly"], 2, ["fly"]),
        (["report", "nowhere"], 1, ["nowhere"]),
        (["report", "nowhere", "--ppo.epochs", "2"], 2, ["--ppo.epochs"]),
        (["export", "--run", "nowhere", "--out", "x"], 1, ["nowhere"]),
        (["eval", "--model", "nowhere", "--problems", "builtin:train"], 1, ["nowhere"]),
        (["eval", "--model", ".", "--problems", "p", "--k", "0"], 2, ["--k"]),
        (["eval", "--problems", "builtin:heldout"], 2, ["--model", "--samples-file"]),
        (
            ["eval", "--samples-file", "nowhere", "--problems", "builtin:unseen_families"],
            1,
            ["nowhere"],
        ),
        (
            ["eval", "--model", ".", "--problems", "p", "--data.evaluate_count", "5"],
            2,
            ["--data.evaluate_count", "--count"],
        ),
        (["data", "check", "--problems", "nowhere.jsonl"], 1, ["nowhere.jsonl"]),
        (["data", "stats", "--problems", "builtin:nope"], 1, ["nope", "heldout"]),
        (["bench", "update", "--shape", "huge"], 2, ["huge", "small"]),
    ],
)
def test_a_users_mistake_is_one_clear_line(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    status: int,
    named: list[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    found, _, err = run(capsys, *arguments)
    assert found == status, err
    assert "Traceback" not in err
    for part in named:
        assert part in err.splitlines()[-1]


def test_an_unknown_field_of_a_recipe_is_bad_usage(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("ppo: {epoch: 2}\n", encoding="utf-8")
    status, _, err = run(capsys, "train", "--config", str(recipe))
    assert status == 2
    assert "epoch" in err
    recipe.write_text("seed: 1\n", encoding="utf-8")
    status, _, err = run(capsys, "train", "--config", str(recipe), "--ppo.epoch", "2")
    assert status == 2
    assert "ppo.epoch" in err


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ("rollout: {problems: 3, samples: 1}\nppo: {minibatches: 2}", "must divide the 3 rollouts"),
        ("rollout: {prompt_buckets: [64]}\ndata: {max_prompt_tokens: 65}", "in 1 … 64"),
        ("rollout: {staleness: 2}", "rollout.staleness = 2"),
    ],
)
def test_what_does_not_go_together_is_refused_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], fields: str, named: str
) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(f"run_dir: {tmp_path / 'run'}\n{fields}\n", encoding="utf-8")
    status, _, err = run(capsys, "train", "--config", str(recipe))
    assert status == 2
    assert named in err.splitlines()[-1]
    assert not (tmp_path / "run").exists()


def test_another_recipe_needs_a_flag(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(f"run_dir: {tmp_path / 'run'}\nsft: {{steps: 1}}\n", encoding="utf-8")
    begun = RunDir.open(load_config(recipe))
    begun.append("metrics", {"phase": "sft", "step": 1})
    begun.close()
    for command in ("train", "sft"):
        status, _, err = run(capsys, command, "--config", str(recipe), "--sft.batch", "2")
        assert status == 1
        assert "sft.batch: 64 → 2" in err.splitlines()[-1]
        assert "--allow-changes" in err.splitlines()[-1]


def test_a_folder_without_weights_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, _, err = run(capsys, "eval", "--model", str(tmp_path), "--problems", "builtin:heldout")
    assert status == 1
    assert str(tmp_path) in err


def test_commands_that_compute_ask_for_huge_pages_when_the_process_is_theirs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[str] = []
    for name in ("bench", "report"):
        monkeypatch.setattr(cli.commands, name, lambda options: asked.append(options.command))
    monkeypatch.setattr(cli, "use_huge_pages", lambda: asked.append("huge pages"))
    for words in (["bench", "update"], ["report", "runs/a"]):
        monkeypatch.setattr(sys, "argv", ["stepcoder", *words])
        assert cli.main() == 0
        assert cli.main(words) == 0
    assert asked == ["huge pages", "bench", "bench", "report", "report"]
