"""The benchmark: its programs, its rows, its report. No test here looks at a speed."""

import json
import os
import subprocess
import sys

import pytest
from stepcoder_executor import Verdict
from stepcoder_executor.bench import rounds as bench
from stepcoder_executor.bench.fork import hold
from stepcoder_executor.bench.processes import cpu_s, family, rss_anon_mib
from stepcoder_executor.bench.row import Row, measure_here, measure_row
from stepcoder_executor.bench.table import table
from stepcoder_executor.bench.workload import is_right, workload

STAT = {"median", "min", "max"}


def test_the_workload_gives_the_verdicts_it_is_made_for(client):
    requests = workload(40)
    results = {result.id: result.verdict for result in client.run(requests)}
    assert {r.id: results[r.id] == Verdict.PASSED for r in requests} == {
        r.id: is_right(r) for r in requests
    }
    assert set(results.values()) == {
        Verdict.PASSED, Verdict.FAILED, Verdict.RUNTIME_ERROR, Verdict.COMPILE_ERROR,
    }  # fmt: skip
    assert {r.tests.fn_name for r in requests} == {"solve", None}


def test_a_report_holds_every_row_and_each_ratio_is_of_its_round():
    told = []
    plan = bench.Plan(programs=20, rounds=2, slots=1, parent_gib=0.01, starts=1, endless=1)
    report = bench.measure(plan, told.append)
    assert json.loads(json.dumps(report)) == report
    assert [(row["runner"], row["parent_gib"]) for row in report["rows"]] == [
        (bench.BARE, 0), (bench.LAYERS, 0), (bench.LAYERS_COVERAGE, 0), (bench.NO_LAYERS, 0),
        (bench.NO_LAYERS_COVERAGE, 0), (bench.LAYERS, 0.01), (bench.BARE, 0.01),
    ]  # fmt: skip
    assert report["rows"][0]["of_bare"] == {"median": 1, "min": 1, "max": 1}
    assert report["rows"][0]["of_bare_cpu"] == {"median": 1, "min": 1, "max": 1}
    rungs = [row["rung"] for row in report["rows"]]
    assert rungs[0] == ""
    assert rungs[3] == rungs[4] == "none"
    assert rungs[1] == rungs[5] != "none"
    for row in report["rows"]:
        assert row["programs_per_s"].keys() == row["cpu_ms_per_program"].keys() == STAT
        assert 0 < row["cpu_ms_per_program"]["min"] <= row["cpu_ms_per_program"]["max"]
    assert set(report["costs"]) == {"layers", "coverage", "parent"}
    assert report["overshoot_ms"]["programs"] == 1
    assert 1 < report["slot"]["memory"]["rss_anon_mib"] < 512
    assert len(told) == 2 * 7 + 1
    text = table(report)
    assert all(row["runner"] in text for row in report["rows"])
    assert "past a time limit" in text


def test_without_a_large_caller_there_are_no_rows_for_one():
    assert {gib for _, gib in bench.Plan(parent_gib=0).rows()} == {0}


def test_more_memory_than_the_machine_has_is_refused():
    with pytest.raises(ValueError, match=r"parent_gib is 1e\+06 and .* or 0 for no such rows"):
        bench.measure(bench.Plan(parent_gib=1e6))


@pytest.mark.parametrize("name", ["programs", "rounds", "slots", "parent_gib", "starts", "endless"])
def test_a_plan_without_sense_is_refused_by_name(name):
    with pytest.raises(ValueError, match=f"{name} is -1; allowed"):
        bench.Plan(**{name: -1})


def test_the_caller_holds_what_it_is_told_to():
    before = rss_anon_mib([os.getpid()])
    held = hold(0.125)
    assert len(held) == 128 << 20
    assert rss_anon_mib([os.getpid()]) - before > 120


def test_a_failing_row_says_why():
    row = Row(runner="executor", isolation="soft", programs=1, slots=1)
    with pytest.raises(RuntimeError, match="isolation is 'soft'; allowed"):
        measure_row(row)


def test_a_row_with_a_wrong_verdict_is_no_measurement(monkeypatch):
    monkeypatch.setattr("stepcoder_executor.bench.row.is_right", lambda request: False)
    with pytest.raises(RuntimeError, match="program 0 of the workload is passed"):
        measure_here(Row(runner="executor", programs=1, slots=1))


def test_a_family_is_a_process_and_what_it_started():
    script = "import subprocess, sys; subprocess.run([sys.executable, '-c', sys.argv[1]])"
    inner = "print(sum(range(10**7)), flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", script, inner], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        process.stdout.readline()
        found = family(process.pid)
        assert [one.parent for one in found] == [os.getpid(), process.pid]
        assert cpu_s(process.pid) == pytest.approx(sum(one.cpu_s for one in found), abs=0.1)
        assert found[1].cpu_s > 0.05
        process.stdin.close()
    assert family(process.pid) == []


def test_the_command_refuses_a_plan_without_sense():
    done = command("--programs", "0")
    assert (done.returncode, done.stdout) == (1, "")
    assert "programs is 0; allowed: 1 or more" in done.stderr


@pytest.mark.slow
def test_the_command_prints_one_json_object():
    done = command("--json", "--programs", "20", "--rounds", "1", "--parent-gib", "0")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    report = json.loads(done.stdout)
    assert report["overshoot_ms"]["programs"] == 20
    assert len(report["rows"]) == 5


def command(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "stepcoder_executor.cli", "bench", *arguments],
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
