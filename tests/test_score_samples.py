"""``stepcoder eval --samples-file`` from outside: figures, reports, the record, and no JAX."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from stepcoder_jax import cli

RIGHT, WRONG = "def f(n):\n    return n + 1", "def f(n):\n    return n"


def problem(name: str, solution: str | None = RIGHT, **changes: object) -> dict:
    row = {
        "id": name,
        "question": "Add one.",
        "difficulty": "introductory",
        "starter_code": "",
        "canonical_solution": solution,
        "tests": {"fn_name": "f", "inputs": [[1], [5]], "outputs": [2, 6]},
        "source": "mine",
    }
    return row | changes


def sample(name: str, program: str) -> dict:
    return {"task_id": name, "solution": program}


def write(path: Path, *rows: dict | str) -> str:
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    path.write_text("\n".join(lines), encoding="utf-8")
    return str(path)


def run(capsys: pytest.CaptureFixture[str], folder: Path, *more: str) -> tuple[int, dict, str]:
    files = ["--samples-file", str(folder / "s"), "--problems", str(folder / "p")]
    status = cli.main(["eval", *files, "--json", *more])
    out, err = capsys.readouterr()
    return status, json.loads(out.splitlines()[-1]) if out else {}, err


def test_samples_are_judged_and_every_fault_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(
        tmp_path / "p",
        problem("a"),
        problem("b", difficulty="interview", source="yours"),
        problem("broken", WRONG),
        problem("open", None),
    )
    write(
        tmp_path / "s",
        sample("a", RIGHT),
        sample("a", "def f(n:"),
        sample("b", WRONG),
        sample("b", "raise SystemExit(0)"),
        sample("broken", WRONG),
        sample("broken", WRONG),
        sample("other", RIGHT),
        "{",
    )
    out = tmp_path / "folder" / "record.json"
    status, found, err = run(capsys, tmp_path, "--k", "1,2", "--out", str(out))
    assert status == 0
    # a: 1 of 2, b: 0 of 2, open: no sample; the broken problem is in no figure.
    assert found["pass@1"] == pytest.approx(0.5 / 3)
    assert found["pass@2"] == pytest.approx(1 / 3)
    assert found["by_difficulty"]["interview"]["pass@1"] == 0.0
    assert found["by_source"]["mine"] == {"problems": 2, "pass@1": 0.25, "pass@2": 0.5}
    assert found["verdicts"]["compile_error"] == 0.25
    assert (found["problems"], found["samples"]) == (3, 4)
    assert found["missing"] == ["open"]
    assert found["unknown_ids"] == {"other": 1}
    assert found["bad_lines"][0].startswith("line 8: not JSON")
    assert found["preflight"]["without_solution"] == 1
    assert found["preflight"]["failed"]["broken"].startswith("failed")
    for said in ("broken", "other", "line 8", "open"):
        assert said in err
    record = json.loads(out.read_text(encoding="utf-8"))
    assert record.items() >= found.items()
    assert record["config"]["executor"]["wall_s"] == 3.0
    verdicts = [(row["task_id"], row["verdict"]) for row in record["programs"]]
    assert len(verdicts) == found["samples"]
    assert verdicts[:3] == [("a", "passed"), ("a", "compile_error"), ("b", "failed")]
    assert set(record) >= {"versions", "platform", "isolation", "samples_sha256", "problems_sha256"}


def test_k_is_by_default_what_every_problem_has_samples_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "p", problem("a"), problem("b"))
    ten = [sample("a", RIGHT)] * 5 + [sample("a", WRONG)] * 5
    write(tmp_path / "s", *ten, *[sample("b", WRONG)] * 10)
    _, found, _ = run(capsys, tmp_path)
    assert (found["pass@1"], found["pass@10"], "pass@100" in found) == (0.25, 0.5, False)
    status, _, err = run(capsys, tmp_path, "--k", "11")
    assert status == 2
    assert "--k 11" in err
    assert "10 samples" in err


def test_answers_are_looked_through_for_their_code_when_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "p", problem("a"))
    write(tmp_path / "s", sample("a", f"Sure!\n```python\n{RIGHT}\n```\nIt adds one."))
    assert run(capsys, tmp_path)[1]["verdicts"]["compile_error"] == 1.0
    assert run(capsys, tmp_path, "--extract")[1]["pass@1"] == 1.0


def test_limits_are_the_recipes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "p", problem("a"))
    write(tmp_path / "s", sample("a", "import time\ndef f(n):\n    time.sleep(30)"))
    _, found, _ = run(capsys, tmp_path, "--executor.wall_s", "0.5")
    assert found["verdicts"]["timeout"] == 1.0


@pytest.mark.parametrize(
    ("more", "status", "named"),
    [
        (["--samples", "2"], 2, "--samples"),
        (["--style", "chat"], 2, "--style"),
        (["--executor.wall", "2"], 2, "executor.wall"),
        (["--count", "1"], 1, "no program"),
        (["--out", "."], 2, "--out .: is a folder"),
    ],
)
def test_mistakes_are_one_clear_line(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    more: list[str],
    status: int,
    named: str,
) -> None:
    write(tmp_path / "p", problem("z"), problem("a"))
    write(tmp_path / "s", sample("a", RIGHT))
    found, _, err = run(capsys, tmp_path, *more)
    assert found == status
    assert named in err.splitlines()[-1]


def test_judging_samples_starts_no_jax(tmp_path: Path) -> None:
    write(tmp_path / "p", problem("a"))
    write(tmp_path / "s", sample("a", RIGHT))
    files = ["--samples-file", str(tmp_path / "s"), "--problems", str(tmp_path / "p")]
    code = f"""
import sys
from stepcoder_jax.cli import main
assert main(["eval", *{files}]) == 0
heavy = {{"jax", "transformers", "orbax", "flax"}} & set(sys.modules)
assert not heavy, heavy
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_answers_with_a_code_fence_are_said_to_need_extraction(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "p", problem("a"))
    write(tmp_path / "s", sample("a", f"Here:\n```python\n{RIGHT}\n```"), sample("a", RIGHT))
    _, found, err = run(capsys, tmp_path)
    assert found["pass@1"] == 0.5
    assert "1 samples hold a code fence and are run as they are; --extract" in err
    _, found, err = run(capsys, tmp_path, "--extract")
    assert found["pass@1"] == 1.0
    assert "code fence" not in err
