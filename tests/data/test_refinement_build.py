"""`stepcoder data build` as a whole: what is dropped and why, what is written, and going on."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from stepcoder_jax import cli
from stepcoder_jax.data.problems import parse_problem
from stepcoder_jax.data.refinement.journal import Entry, Journal

STABLE = "n = int(input())\nif n % 2:\n    print('odd')\nelse:\n    print('even')\n"
OTHER = "print(['even', 'odd'][int(input()) % 2])\n"
# Within what the judge allows of 1.0, and another number at each run, or in each interpreter.
BY_TIME = "import time\nprint(1.0 + time.time_ns() % 10**6 * 1e-12)\n"
BY_INTERPRETER = "print(1.0 + hash('x') % 10**6 * 1e-12)\n"


def row(number, solutions, **other):
    tests = {"inputs": ["3\n", "4\n"], "outputs": ["odd \r\n", "even"]}
    return {
        "problem_id": number,
        "question": f"Task {number}: {' '.join(f'w{number}x{k}' for k in range(12))}",
        "difficulty": "interview",
        "input_output": json.dumps(tests),
        "solutions": json.dumps(solutions),
        **other,
    }


ROWS = {
    "kept": row(0, [STABLE, OTHER, "print 'two'"]),
    "compile_error": row(1, ["print 'two'"]),
    "failed": row(2, ["print('odd')", "print(1"]),
    "runtime_error": row(3, ["print(1 / 0)"]),
    "timeout": row(4, ["while True: pass"]),
    "no solution": row(5, []),
    "contaminated": row(6, [STABLE], question="Bench: " + " ".join(f"b{k}" for k in range(20))),
    "duplicate": row(7, [OTHER], question=row(0, [])["question"].upper() + "!"),
    "unreadable": row(8, [STABLE], input_output="{}"),
}

ALL = tuple(ROWS.values())


def build(tmp_path, capsys, *options, rows=ALL):
    source = tmp_path / "rows.jsonl"
    source.write_text("".join(json.dumps(one) + "\n" for one in rows))
    places = ["--problems", str(source), "--out", str(tmp_path / "out")]
    limits = ["--cpu-s", "1", "--slots", "2"]
    status = cli.main(["data", "build", *places, *limits, "--json", *options])
    out, err = capsys.readouterr()
    return status, json.loads(out.splitlines()[-1]) if status == 0 else err


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture
def benchmark(tmp_path):
    text = " ".join(f"b{k}" for k in range(20))
    fields = {"id": "B/1", "question": text, "difficulty": "introductory", "starter_code": ""}
    rest = {"canonical_solution": "n = int(input())\nx", "source": "b"}
    tests = {"fn_name": None, "inputs": ["1"], "outputs": ["1"]}
    path = tmp_path / "bench.jsonl"
    path.write_text(json.dumps({**fields, **rest, "tests": tests}) + "\n")
    return path


def test_every_row_is_kept_or_has_a_reason(tmp_path, capsys, benchmark):
    status, result = build(tmp_path, capsys, "--against", str(benchmark))
    assert status == 0
    assert (result["rows"], result["kept"]) == (9, 1)
    assert result["reasons"] == {name: 1 for name in ROWS if name != "kept"}
    out = tmp_path / "out"
    reasons = {line["id"]: line["reason"] for line in lines(out / "dropped.jsonl")}
    assert reasons["apps/rows/0006"].endswith("of B/1")
    assert reasons["apps/rows/0007"].startswith("duplicate: of apps/rows/0000 (")
    assert "failed 1, compile_error 1" in reasons["apps/rows/0002"]
    assert reasons[None].startswith("unreadable: no tests")
    assert json.loads((out / "card.json").read_text())["kept"] == 1
    page = (out / "card.html").read_text()
    assert "contaminated" in page
    assert page.count("<svg") >= 3


def test_rows_of_a_benchmark_that_cannot_be_read_are_said(tmp_path, capsys, benchmark):
    benchmark.write_text(benchmark.read_text() + '{"id": "B/2", "quest\n[1]\n')
    build(tmp_path, capsys, "--against", str(benchmark), rows=[ROWS["contaminated"]])
    card = json.loads((tmp_path / "out" / "card.json").read_text())
    assert card["reasons"] == {"contaminated": 1}
    assert card["unread_of_benchmarks"] == {str(benchmark): 2}
    benchmark.write_text("[]\n")
    status, said = build(tmp_path, capsys, "--against", str(benchmark))
    assert (status, "bench.jsonl holds no problem" in said) == (1, True)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--overlap", "7"), "--overlap 7.0: must be a share, above 0"),
        (("--near", "0"), "--near 0.0: must be a share"),
        (("--tests", "-1"), "--tests -1: must be 0"),
        (("--slots", "-1"), "--slots -1: must be 0"),
        (("--cpu-s", "nan"), "--cpu-s nan: must be seconds"),
        (("--memory-mb", "0"), "--memory-mb 0: must be above 0"),
    ],
)
def test_numbers_that_make_no_sense_are_refused(tmp_path, capsys, options, said):
    status, message = build(tmp_path, capsys, *options)
    assert status == 2
    assert said in message


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path, capsys):
    (tmp_path / "out").write_text("")
    status, message = build(tmp_path, capsys)
    assert (status, "a file is there; give a folder" in message) == (2, True)


def test_the_problem_is_normal_and_has_more_tests(tmp_path, capsys):
    build(tmp_path, capsys, "--tests", "6", rows=[ROWS["kept"]])
    (written,) = lines(tmp_path / "out" / "problems.jsonl")
    tests = parse_problem(written, "here").tests
    assert tests.outputs[:2] == ("odd\n", "even\n")
    assert len(tests.inputs) == len(set(tests.inputs)) == 6
    wanted = [("even\n", "odd\n")[int(text) % 2] for text in tests.inputs]
    assert list(tests.outputs) == wanted
    (facts,) = lines(tmp_path / "out" / "facts.jsonl")
    assert facts["solutions"] == {"passed": 2, "compile_error": 1}
    assert facts["tests_added"] == 4
    verified = json.loads((tmp_path / "out" / "verified.json").read_text())
    assert verified["dropped"] == {}
    assert 0 < verified["reference_s"]["apps/rows/0000"] < 1


def test_a_build_that_keeps_nothing_says_why(tmp_path, capsys):
    source = tmp_path / "rows.csv"
    source.write_text("id,question\n1,Add.\n")
    assert (
        cli.main(["data", "build", "--problems", str(source), "--out", str(tmp_path / "out")]) == 0
    )
    said = f"no row was kept: unreadable (2), not JSON (2); each is in {tmp_path}/out/dropped.jsonl"
    assert said in capsys.readouterr().err


CALLED = "class Solution:\n    def last(self, s: str) -> str:\n        return s.split()[-1]"


@pytest.mark.parametrize(
    ("inputs", "outputs", "normal"),
    [
        (["a bc", "d"], ["bc", "d"], ["bc", "d"]),
        (["a bc", "d"], [["bc"], ["d"]], ["bc", "d"]),
        (['"a bc"', '"d"'], ['"bc"', '"d"'], ["bc", "d"]),
        (['"a bc"', '"d"'], [['"bc"'], ['"d"']], ["bc", "d"]),
    ],
    ids=["plain", "in-lists", "quoted", "quoted-in-lists"],
)
def test_arguments_and_results_have_one_form(tmp_path, capsys, inputs, outputs, normal):
    tests = {"fn_name": "last", "inputs": [[text] for text in inputs], "outputs": outputs}
    rows = [row(0, [CALLED], input_output=json.dumps(tests))]
    build(tmp_path, capsys, rows=rows)
    (written,) = lines(tmp_path / "out" / "problems.jsonl")
    assert written["tests"]["inputs"] == [["a bc"], ["d"]]
    assert written["tests"]["outputs"] == normal


def test_quotes_and_lists_that_are_meant_stay(tmp_path, capsys):
    said = "def f(s):\n    return [s[0]]"
    tests = {"fn_name": "f", "inputs": [['"a"'], ['"b"']], "outputs": [['"'], ['"']]}
    build(tmp_path, capsys, rows=[row(0, [said], input_output=json.dumps(tests))])
    (written,) = lines(tmp_path / "out" / "problems.jsonl")
    assert written["tests"] == tests


def test_tests_are_made_only_where_solutions_agree(tmp_path, capsys):
    wrong_elsewhere = "n = int(input())\nprint('odd' if n == 3 else 'even' if n == 4 else n)\n"
    rows = [row(0, [STABLE, wrong_elsewhere]), row(1, [STABLE])]
    build(tmp_path, capsys, rows=rows)
    first, alone = lines(tmp_path / "out" / "problems.jsonl")
    pairs = zip(first["tests"]["inputs"], first["tests"]["outputs"], strict=True)
    assert all(int(text) in (3, 4) for text, _ in pairs)
    assert len(alone["tests"]["inputs"]) == 2


COMPARES = "a, b = map(int, input().split())\nprint('yes' if a >= b and a else 'no')\n"
# Programs that are wrong where the given tests do not look.
WRONG = {
    "strict": lambda a, b: a > b and a,
    "off by one": lambda a, b: a >= b + 1 and a,
    "the other one": lambda a, b: a >= b and b,
    "no zero": lambda a, b: a >= b,
}


def test_made_tests_catch_what_the_given_ones_let_pass(tmp_path, capsys):
    given = {"inputs": ["9 4\n", "4 9\n", "0 7\n"], "outputs": ["yes\n", "no\n", "no\n"]}
    solutions = [COMPARES, COMPARES.replace("and a", "and a != 0")]
    build(tmp_path, capsys, rows=[row(0, solutions, input_output=json.dumps(given))])
    (written,) = lines(tmp_path / "out" / "problems.jsonl")
    pairs = zip(written["tests"]["inputs"], written["tests"]["outputs"], strict=True)
    told = [(tuple(map(int, text.split())), output == "yes\n") for text, output in pairs]
    for name, wrong in WRONG.items():
        failed = [numbers for numbers, is_yes in told if bool(wrong(*numbers)) != is_yes]
        assert failed, name
        assert not {numbers for numbers, _ in told[:3]}.intersection(failed), name


@pytest.mark.parametrize("source", [BY_TIME, BY_INTERPRETER])
def test_a_solution_that_answers_differently_is_dropped(tmp_path, capsys, source):
    tests = {"inputs": ["2\n"], "outputs": ["1.0\n"]}
    rows = [row(0, ["\ufeffprint(1.0)"]), row(1, [source])]
    rows = [one | {"input_output": json.dumps(tests)} for one in rows]
    _, result = build(tmp_path, capsys, "--runs", "2", rows=rows)
    assert result["kept"] == 1
    assert result["reasons"] == {"unstable": 1}


def test_a_second_build_changes_nothing_and_other_values_are_refused(tmp_path, capsys):
    rows = [ROWS["kept"], ROWS["failed"]]
    _, first = build(tmp_path, capsys, rows=rows)
    journal = (tmp_path / "out" / "journal.jsonl").read_bytes()
    _, second = build(tmp_path, capsys, rows=rows)
    assert second == first
    assert (tmp_path / "out" / "journal.jsonl").read_bytes() == journal
    status, message = build(tmp_path, capsys, "--runs", "2", rows=rows)
    assert status == 2
    assert "runs: 3, now 2" in message
    assert build(tmp_path, capsys, rows=rows[:1])[0] == 2


def test_a_build_of_other_rules_is_not_gone_on_with(tmp_path, capsys, monkeypatch):
    rows = ALL[:1]
    assert build(tmp_path, capsys, rows=rows)[0] == 0
    monkeypatch.setattr("stepcoder_jax.data.refinement.settings.RULES", 0)
    status, said = build(tmp_path, capsys, rows=rows)
    assert status == 2
    assert "rules: 1, now 0" in said


def test_a_kill_loses_only_what_was_under_way(tmp_path, capsys):
    rows = [row(k, [STABLE, OTHER]) for k in range(60)]
    source, out = tmp_path / "rows.jsonl", tmp_path / "out"
    source.write_text("".join(json.dumps(one) + "\n" for one in rows))
    arguments = ["data", "build", "--problems", str(source), "--out", str(out), "--cpu-s", "1"]
    process = subprocess.Popen(
        [sys.executable, "-m", "stepcoder_jax.cli", *arguments, "--slots", "2"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    journal = out / "journal.jsonl"
    deadline = time.monotonic() + 60
    while not (journal.exists() and journal.read_bytes().count(b"\n") > 5):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    settled = journal.read_bytes()
    assert settled.count(b"\n") < 60
    journal.write_bytes(settled + b'{"number": 59, "whe')
    _, result = build(tmp_path, capsys, rows=rows)
    assert result["kept"] == 60
    assert journal.read_bytes().startswith(settled)
    ids = [line["id"] for line in lines(out / "problems.jsonl")]
    assert ids == [f"apps/rows/{k:04}" for k in range(60)]
    whole = tmp_path / "whole"
    whole.mkdir()
    uninterrupted = build(whole, capsys, rows=rows)[1]
    assert (whole / "out" / "problems.jsonl").read_bytes() == (out / "problems.jsonl").read_bytes()
    assert uninterrupted["tests_added"] == result["tests_added"]


def test_what_the_executor_could_not_judge_is_tried_again(tmp_path):
    path = tmp_path / "journal.jsonl"
    with Journal(path, {"a": 1}, again="executor_error") as journal:
        journal.add(Entry(number=0, where="x", id="0", reason="executor_error: none"))
        journal.add(Entry(number=1, where="y", id="1", reason="failed: none"))
    with Journal(path, {"a": 1}, again="executor_error") as journal:
        assert 0 not in journal
        assert 1 in journal
        journal.add(Entry(number=0, where="x", id="0", reason=None, row={}))
        assert [entry.reason for entry in journal.entries()] == [None, "failed: none"]


def test_folders_and_files_are_known_by_what_is_in_them(tmp_path, capsys):
    folder = tmp_path / "apps" / "train" / "0007"
    folder.mkdir(parents=True)
    for name, text in (
        ("question.txt", "Odd or even?"),
        ("solutions.json", json.dumps([STABLE])),
        ("input_output.json", json.dumps({"inputs": ["3\n"], "outputs": ["odd\n"]})),
        ("metadata.json", json.dumps({"difficulty": "interview"})),
    ):
        (folder / name).write_text(text)
    mbpp = tmp_path / "some.jsonl"
    task = {"text": "Double it.", "code": "def f(n):\n    return 2 * n", "task_id": 700}
    both = [{**task, "test_list": ["assert f(2) == 4"]}, {**task, "task_id": 0, "test_list": []}]
    mbpp.write_text("".join(json.dumps(one) + "\n" for one in both))
    for name, kept, rows in ((tmp_path / "apps", 1, 1), (mbpp, 1, 2)):
        out = str(tmp_path / f"out-{name.stem}")
        assert cli.main(["data", "build", "--problems", str(name), "--out", out, "--json"]) == 0
        result = json.loads(capsys.readouterr().out.splitlines()[-1])
        assert (result["kept"], result["rows"]) == (kept, rows)
