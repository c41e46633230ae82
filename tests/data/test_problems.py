"""Problem files: what is wrong is named, whether it is refused or left out."""

import json
from pathlib import Path

import pytest
from stepcoder_executor import AssertionTests, IoTests

from stepcoder_jax.cli import main
from stepcoder_jax.data.problems import ProblemError, write_problem_file
from stepcoder_jax.data.sources import load_problem_set, load_problems
from stepcoder_jax.data.stats import problem_stats

ROW = {
    "id": "a/1",
    "question": "Add one.",
    "difficulty": "introductory",
    "starter_code": "def f(n):",
    "canonical_solution": "def f(n):\r\n    return n + 1\r\n",
    "tests": {"fn_name": "f", "inputs": [[1]], "outputs": [2]},
    "source": "mine",
}


def write(path: Path, *rows: object) -> Path:
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def test_a_file_reads_back_as_it_was_written(tmp_path: Path) -> None:
    other = ROW | {
        "id": "ü",
        "canonical_solution": None,
        "tests": {"assertions": ["assert f(1) == 2"], "setup": ""},
    }
    problems = load_problems(str(write(tmp_path / "in.jsonl", ROW, "", other)))
    assert problems[0].canonical_solution == "def f(n):\n    return n + 1"
    assert isinstance(problems[0].tests, IoTests)
    assert isinstance(problems[1].tests, AssertionTests)
    write_problem_file(tmp_path / "out.jsonl", problems)
    assert load_problems(str(tmp_path / "out.jsonl")) == problems


@pytest.mark.parametrize(
    ("row", "named"),
    [
        ("{not json", ["line 1", "not JSON"]),
        ([1], ["line 1", "list"]),
        (ROW | {"difficulty": "hard"}, ["difficulty", "hard", "competition"]),
        (ROW | {"question": 3}, ["question", "3"]),
        (ROW | {"id": ""}, ["id"]),
        (ROW | {"extra": 1}, ["extra"]),
        ({k: v for k, v in ROW.items() if k != "source"}, ["source"]),
        (ROW | {"canonical_solution": ["x"]}, ["canonical_solution"]),
        (ROW | {"tests": {"fn_name": "f", "inputs": [[1]]}}, ["tests", "outputs"]),
        (ROW | {"tests": "none"}, ["tests"]),
    ],
)
def test_a_row_that_is_no_problem_is_refused_by_line_field_and_value(
    tmp_path: Path, row: object, named: list[str]
) -> None:
    with pytest.raises(ProblemError) as error:
        load_problems(str(write(tmp_path / "in.jsonl", row)))
    for part in named:
        assert part in str(error.value)


def test_a_file_that_is_missing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ProblemError, match="is a folder; give a problem file"):
        load_problems(str(tmp_path))
    with pytest.raises(ProblemError, match=r"nowhere\.jsonl does not exist"):
        load_problems(str(tmp_path / "nowhere.jsonl"))


def test_loading_leaves_out_what_is_broken_and_says_so(tmp_path: Path, capsys) -> None:
    last = ROW | {"id": "a/2"}
    bad = (ROW | {"difficulty": "hard"}, "{not json", ROW)
    path = write(tmp_path / "in.jsonl", ROW, *bad, last)
    assert [p.id for p in load_problems(str(path))] == ["a/1", "a/2"]
    said = capsys.readouterr().err
    assert "3 rows left out: difficulty (1), not JSON (1), id comes twice (1)" in said
    assert f"{path} line 2: difficulty = 'hard'" in said
    found = load_problem_set(str(path), count=1)
    assert [p.id for p in found.problems] == ["a/1"]
    assert [row.where for row in found.rejected] == [f"{path} line {n}" for n in (2, 3, 4)]


def test_the_data_command_names_and_counts_what_was_left_out(tmp_path: Path, capsys) -> None:
    path = write(tmp_path / "in.jsonl", ROW, ROW | {"id": "b", "difficulty": "hard"}, "{", ROW)
    assert main(["data", "stats", "--problems", str(path), "--json"]) == 0
    *named, last = capsys.readouterr().out.splitlines()
    assert [line.partition(": ")[0] for line in named] == [f"{path} line {n}" for n in (2, 3, 4)]
    found = json.loads(last)
    assert found["problems"] == 1
    assert found["left_out"] == {
        "rows": 3,
        "reasons": {"difficulty": 1, "not JSON": 1, "id comes twice": 1},
    }


def test_a_file_with_no_problem_at_all_is_refused_with_the_reason(tmp_path: Path) -> None:
    path = write(tmp_path / "in.jsonl", ROW | {"extra": 1})
    with pytest.raises(ProblemError, match=r"in\.jsonl holds no problem.*\n.*line 1.*extra"):
        load_problems(str(path))
    with pytest.raises(ProblemError, match=r"empty\.jsonl holds no problem$"):
        load_problems(str(write(tmp_path / "empty.jsonl")))


@pytest.mark.parametrize("name", ["builtin:nope", "imagenet:train"])
def test_a_name_that_is_no_problem_set_is_refused(name: str) -> None:
    with pytest.raises(ProblemError, match=name.partition(":")[2 if "builtin" in name else 0]):
        load_problems(name)


def test_stats_count_what_is_there(tmp_path: Path) -> None:
    broken = ROW | {"id": "b", "canonical_solution": "def f(:", "difficulty": "interview"}
    loop = ROW | {"id": "c", "canonical_solution": "for i in []:\n    pass"}
    found = problem_stats(load_problems(str(write(tmp_path / "in.jsonl", ROW, broken, loop))))
    assert found["problems"] == 3
    assert found["difficulty"] == {"introductory": 2, "interview": 1}
    assert found["unparsable_solutions"] == 1
    assert found["conditional_statements"] == {"0": 1, "1": 1}
