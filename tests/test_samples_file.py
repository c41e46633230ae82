"""Samples of others: both formats, and one fault costs one line."""

import gzip
import json
from dataclasses import replace
from pathlib import Path

import pytest
from test_scorecard import problem

from stepcoder_jax.samples_file import SamplesError, program_of, read_samples, write_samples

PROBLEMS = [problem("HumanEval/0"), problem("HumanEval/1"), problem("mbpp/2")]


def line(task: object, **fields: object) -> str:
    return json.dumps({"task_id": task, **fields})


def write(folder: Path, *lines: str) -> Path:
    path = folder / "samples.jsonl"
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def test_both_formats_are_read_and_ids_may_differ_in_case(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        line("Mbpp/2", solution="x = 2"),
        line("HumanEval/0", completion="    return 1\n", extra=[1]),
        line("HumanEval/0", solution="x = 0", completion=None),
    )
    found = read_samples(path, PROBLEMS)
    assert found.programs == {"HumanEval/0": ("    return 1\n", "x = 0"), "mbpp/2": ("x = 2",)}
    assert found.missing == ("HumanEval/1",)
    assert (found.unknown, found.bad_lines) == ({}, ())


@pytest.mark.parametrize(
    ("start", "completion", "program"),
    [
        ('def f():\n    """Doc."""\n', "    return 1", 'def f():\n    """Doc."""\n    return 1'),
        ("def f():", "\n    return 1", "def f():\n    return 1"),
        ("def f():", "    x = 1\n    return x", "def f():\n    x = 1\n    return x"),
        ("", "def f():\n    return 1", "def f():\n    return 1"),
    ],
)
def test_a_completion_goes_on_from_the_starter_code(
    start: str, completion: str, program: str
) -> None:
    of = replace(problem("p"), starter_code=start)
    assert program_of({"completion": completion}, of) == program
    assert program_of({"solution": completion}, of) == completion


def test_every_fault_is_reported_with_its_line_and_costs_no_other(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        line("mbpp/2", solution="a"),
        "{not json",
        "",
        "[1, 2]",
        line(2, solution="b"),
        line("mbpp/2"),
        line("mbpp/2", solution=["c"]),
        line("mbpp/2", solution="\ud800"),
        line("apps/9", solution="d"),
        line("apps/9", solution="e"),
        line("mbpp/2", completion="f"),
    )
    found = read_samples(path, PROBLEMS)
    assert found.programs == {"mbpp/2": ("a", "f")}
    assert found.unknown == {"apps/9": 2}
    assert [fault.partition(":")[0] for fault in found.bad_lines] == [
        "line 2", "line 4", "line 5", "line 6", "line 7", "line 8"
    ]  # fmt: skip


def test_a_compressed_file_is_read_whatever_its_name_and_as_far_as_it_goes(tmp_path: Path) -> None:
    whole = gzip.compress("\n".join(line("mbpp/2", solution=f"x = {i}") for i in range(9)).encode())
    path = tmp_path / "samples.jsonl"
    path.write_bytes(whole)
    assert len(read_samples(path, PROBLEMS).programs["mbpp/2"]) == 9
    path.write_bytes(whole[:-8])
    cut = read_samples(path, PROBLEMS)
    assert cut.programs["mbpp/2"]
    assert "cannot be read on" in cut.bad_lines[-1]


def test_bytes_that_are_not_text_cost_their_line(tmp_path: Path) -> None:
    path = tmp_path / "samples.jsonl"
    good = line("mbpp/2", solution="x").encode()
    bom = b"\xef\xbb\xbf"
    path.write_bytes(bom + good + b'\r\n{"task_id": "\xff"}\n' + bom + good)
    found = read_samples(path, PROBLEMS)
    assert len(found.programs["mbpp/2"]) == 2
    assert len(found.bad_lines) == 1


def test_a_file_with_nothing_for_these_problems_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SamplesError, match=r"nowhere.*does not exist"):
        read_samples(tmp_path / "nowhere", PROBLEMS)
    with pytest.raises(SamplesError, match=r"1 bad lines, 1 of other problems.*line 2"):
        read_samples(write(tmp_path, line("x", solution=""), "nope"), PROBLEMS)


@pytest.mark.parametrize("name", ["out.jsonl", "out.jsonl.gz"])
def test_what_is_written_is_read(tmp_path: Path, name: str) -> None:
    write_samples(tmp_path / name, [("mbpp/2", "é\n"), ("mbpp/2", "")])
    assert read_samples(tmp_path / name, PROBLEMS).programs == {"mbpp/2": ("é\n", "")}
