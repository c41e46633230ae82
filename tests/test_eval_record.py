"""The pre-flight and the parts of a record."""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from stepcoder_executor import Executor, Request, Result, TestResult, Verdict
from test_scorecard import problem

from stepcoder_jax.config import ConfigError, ExecutorSettings
from stepcoder_jax.eval_record import file_hashes, make_place, preflight

PASSED, TIMEOUT = Verdict.PASSED, Verdict.TIMEOUT


class Slow(Executor):
    """Gives each problem's verdicts in turn, one a run; has no process, and takes nothing else."""

    n_slots = restarts = _encode = _send = _withdraw = _end = None

    def __init__(self, verdicts: dict[str, list[Verdict]]) -> None:
        self.verdicts = verdicts

    def run(self, requests: Iterable[Request], timeout_s: float | None = None) -> Iterator[Result]:
        for request in requests:
            verdict = self.verdicts[request.id].pop(0)
            tests = (TestResult(verdict=verdict, wall_s=1.0),)
            yield Result(id=request.id, verdict=verdict, tests=tests, covered=None, wall_s=1.0)


def test_a_solution_that_times_out_once_was_only_unlucky() -> None:
    problems = [replace(problem(name), canonical_solution="x") for name in "abcd"]
    client = Slow(
        {"a": [PASSED], "b": [TIMEOUT, PASSED], "c": [TIMEOUT] * 2, "d": [Verdict.FAILED]}
    )
    found = preflight([*problems, problem("open")], client, ExecutorSettings())
    assert [p.id for p in found.problems] == ["a", "b", "open"]
    assert found.failed == {"c": "timeout", "d": "failed"}
    assert found.unchecked == 1
    assert client.verdicts == {"a": [], "b": [], "c": [], "d": []}


def test_where_nothing_can_be_written_is_said_before_anything_else(tmp_path: Path) -> None:
    make_place("--out", None)
    make_place("--out", tmp_path / "new" / "result.json")
    (tmp_path / "new" / "result.json").write_text("")
    make_place("--out", tmp_path / "new" / "result.json")
    with pytest.raises(ConfigError, match=r"--out .*new: is a folder"):
        make_place("--out", tmp_path / "new")
    for below in ("x", "x/y"):
        with pytest.raises(ConfigError, match=r"--save-samples .*: .*result.json.* is no folder"):
            make_place("--save-samples", tmp_path / "new" / "result.json" / below)


def test_a_models_files_are_hashed_wherever_they_lie(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "model.safetensors").write_bytes(b"weights")
    (tmp_path / "notes.txt").write_bytes(b"no part of the model")
    digest = hashlib.sha256(b"weights").hexdigest()
    assert file_hashes(tmp_path) == {"sub/model.safetensors": digest}
    assert file_hashes(tmp_path / "sub" / "model.safetensors") == {"model.safetensors": digest}
