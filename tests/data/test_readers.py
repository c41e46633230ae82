"""Data sets in their published forms, and rows of them that are broken."""

import json
import pickle
import re
from dataclasses import replace

import pytest
from data_sets import (
    APPS_FILES,
    APPS_PLUS_ROW,
    APPS_ROW,
    CALLS,
    CASES,
    FUNCTIONAL_ROW,
    HUMANEVAL_ROW,
    LIVECODEBENCH_ROW,
    MBPP_ROW,
    SANITIZED_ROW,
    packed,
)
from stepcoder_executor import AssertionTests, ExecutorClient, IoTests, Request, Verdict

from stepcoder_jax.data.apps import read_apps
from stepcoder_jax.data.apps_plus import read_apps_plus
from stepcoder_jax.data.humaneval import read_humaneval
from stepcoder_jax.data.json_rows import Rejected
from stepcoder_jax.data.livecodebench import file_names, read_livecodebench
from stepcoder_jax.data.mbpp import SPLITS, read_mbpp, read_sanitized
from stepcoder_jax.data.problem_file import read_jsonl
from stepcoder_jax.data.problems import problem_to_json
from stepcoder_jax.data.raw import RawProblem, unique

ROWS = {
    read_apps: APPS_ROW,
    read_apps_plus: APPS_PLUS_ROW,
    read_mbpp: MBPP_ROW,
    read_sanitized: SANITIZED_ROW,
    read_humaneval: HUMANEVAL_ROW,
    read_livecodebench: LIVECODEBENCH_ROW,
}
SPLIT = {read_humaneval: "test", read_livecodebench: "test"}


def read(reader, path, *rows):
    path.write_text(json.dumps(rows))
    return list(unique(reader(SPLIT.get(reader, "train"), [path])))


def one(reader, path, row):
    (found,) = read(reader, path, row)
    assert isinstance(found, RawProblem), found
    return found


@pytest.fixture(scope="module")
def client():
    with ExecutorClient() as opened:
        yield opened


def passes(client, problem):
    request = Request(id="it", source=problem.canonical_solution, tests=problem.tests)
    (result,) = client.run([request])
    return result.verdict is Verdict.PASSED


def apps_folder(parent, number, **files):
    folder = parent / number
    folder.mkdir(parents=True)
    for name, content in (APPS_FILES | files).items():
        if content is not None:
            data = content if isinstance(content, bytes) else content.encode()
            (folder / name).write_bytes(data)
    return sorted(folder.iterdir())


class TestApps:
    def test_a_folder_and_a_row_are_the_same_problem_with_every_solution(self, tmp_path):
        files = apps_folder(tmp_path, "0007")
        (folder,) = read_apps("train", files)
        row = one(read_apps, tmp_path / "train.json", APPS_ROW)
        assert replace(row, where=folder.where) == folder
        assert folder.solutions == ("print(sum(map(int, input().split())))", "import sys")
        assert folder.problem.canonical_solution == folder.solutions[0]
        assert folder.problem.id == "apps/train/0007"
        assert folder.problem.tests == IoTests(fn_name=None, inputs=("1 2\n",), outputs=("3\n",))
        assert folder.problem.question == "Add the numbers.\nπ\n"

    def test_a_call_based_problem_keeps_its_starter_code(self, tmp_path):
        tests = {"fn_name": "f", "inputs": [[[1], 2]], "outputs": [3]}
        files = apps_folder(
            tmp_path,
            "2404",
            **{"input_output.json": json.dumps(tests), "starter_code.py": "\nclass Solution:\n"},
        )
        (found,) = read_apps("test", files)
        assert found.problem.tests == IoTests(fn_name="f", inputs=([[1], 2],), outputs=(3,))
        assert found.problem.starter_code == "\nclass Solution:\n"
        assert found.problem.id == "apps/test/2404"

    @pytest.mark.parametrize(
        ("name", "content", "reason"),
        [
            ("question.txt", None, "question or"),
            ("question.txt", " \n", "question is blank"),
            ("question.txt", "Zähle.".encode("latin-1"), "question.txt is not UTF-8: byte at 1"),
            ("solutions.json", '["print(1)", "pri', "solutions.json is not JSON"),
            ("solutions.json", '[{"a": 1}]', "solutions = "),
            ("input_output.json", None, "no tests"),
            ("input_output.json", '{"inputs": [], "outputs": []}', "no tests"),
            ("input_output.json", '{"inputs": ["1"], "outp', "input_output.json is not JSON"),
            ("input_output.json", '{"inputs": ["1", "2"], "outputs": ["1"]}', "tests.outputs"),
            ("input_output.json", '{"inputs": [3], "outputs": ["1"]}', "tests.inputs[0]"),
            ("input_output.json", '["1"]', "no tests"),
            ("metadata.json", None, "difficulty"),
            ("metadata.json", '{"difficulty": "hard"}', "difficulty = 'hard'"),
        ],
    )
    def test_a_broken_folder_is_reported_and_the_others_are_read(
        self, tmp_path, name, content, reason
    ):
        files = [
            *apps_folder(tmp_path, "0001"),
            *apps_folder(tmp_path, "0002", **{name: content}),
            *apps_folder(tmp_path, "0003"),
        ]
        first, broken, last = read_apps("train", files)
        assert [first.problem.id, last.problem.id] == ["apps/train/0001", "apps/train/0003"]
        assert broken.where == str(tmp_path / "0002")
        assert reason.replace("question or", "question = None") in broken.reason

    def test_a_folder_without_any_file_is_reported(self, tmp_path):
        files = [*apps_folder(tmp_path, "0001"), *apps_folder(tmp_path, "0003")]
        for name in ("0002", ".git"):
            (tmp_path / name).mkdir()
        first, empty, last = read_apps("train", files)
        assert [first.problem.id, last.problem.id] == ["apps/train/0001", "apps/train/0003"]
        assert empty.where == str(tmp_path / "0002")
        assert "no tests" in empty.reason

    def test_a_problem_without_solutions_is_a_problem(self, tmp_path):
        files = apps_folder(tmp_path, "0001", **{"solutions.json": None})
        (found,) = read_apps("test", files)
        assert (found.problem.canonical_solution, found.solutions) == (None, ())


class TestAppsPlus:
    @pytest.mark.parametrize(
        "change",
        [
            {},
            {"fn_name": None, "function_name": "inc"},
            {"fn_name": None, "entry_point": "inc"},
            {"canonical_solution": None, "solution": APPS_PLUS_ROW["canonical_solution"]},
            {
                "canonical_solution": None,
                "solutions": json.dumps([APPS_PLUS_ROW["canonical_solution"]]),
            },
            {"inputs": "[[1], [5]]", "outputs": "[2, 6]"},
            {"inputs": ["1", "5"]},
            {"inputs": ["1", "5"], "outputs": ["2", "6"]},
            {"fn_name": None},
            {"inputs": None, "outputs": None, "input": [[1], [5]], "output": [2, 6]},
            {"inputs": None, "test_cases": [{"input": i, "output": i + 1} for i in (1, 5)]}
            | {"outputs": None},
            {"difficulty": "Introductory"},
            {"id": None, "problem_id": 3},
            {"id": "3"},
        ],
        ids=lambda change: "-".join(change) or "published",
    )
    def test_known_variants_of_keys_give_the_same_problem(self, tmp_path, change):
        found = one(read_apps_plus, tmp_path / "data.json", APPS_PLUS_ROW | change)
        assert problem_to_json(found.problem) == {
            "id": "apps_plus/3",
            "question": "Return n plus one.",
            "difficulty": "introductory",
            "starter_code": APPS_PLUS_ROW["starter_code"],
            "canonical_solution": APPS_PLUS_ROW["canonical_solution"].rstrip(),
            "tests": {"fn_name": "inc", "inputs": [[1], [5]], "outputs": [2, 6]},
            "source": "apps_plus",
        }

    @pytest.mark.parametrize("name", [None, ""])
    def test_tests_in_one_field_and_standard_input(self, tmp_path, name):
        row = {k: v for k, v in APPS_PLUS_ROW.items() if k not in ("inputs", "outputs", "id")}
        row |= {"input_output": APPS_FILES["input_output.json"], "fn_name": name}
        found = one(read_apps_plus, tmp_path / "data.json", row)
        assert found.problem.tests == IoTests(fn_name=None, inputs=("1 2\n",), outputs=("3\n",))
        assert found.problem.id == "apps_plus/1"

    @pytest.mark.parametrize(
        "inputs", [["4 6\n", "9 7"], [["4 6"], ["9 7"]]], ids=["text", "lines"]
    )
    @pytest.mark.parametrize(
        "names",
        [
            {"starter_code": "\ndef FUNC():\n", "fn_name": None},
            {"starter_code": "def FUNC():", "fn_name": "FUNC"},
            {"starter_code": None, "fn_name": "FUNC"},
        ],
        ids=["by-the-starter-code", "by-both", "by-name"],
    )
    def test_a_function_that_reads_standard_input_is_called(self, tmp_path, client, inputs, names):
        program = "def FUNC():\n    print(max(map(int, input().split())))"
        row = APPS_PLUS_ROW | names
        row |= {"canonical_solution": program, "inputs": inputs, "outputs": ["6\n", "9\n"]}
        problem = one(read_apps_plus, tmp_path / "data.json", row).problem
        assert problem.canonical_solution == f"{program}\n\nFUNC()"
        assert problem.tests == IoTests(fn_name=None, inputs=tuple(inputs), outputs=("6\n", "9\n"))
        assert passes(client, problem)

    def test_text_for_a_function_with_parameters_is_an_argument(self, tmp_path):
        row = APPS_PLUS_ROW | {"fn_name": None, "inputs": [["ab"], ["5"]], "outputs": ["b", "5"]}
        found = one(read_apps_plus, tmp_path / "data.json", row)
        assert found.problem.tests == IoTests(
            fn_name="inc", inputs=(["ab"], ["5"]), outputs=("b", "5")
        )

    def test_a_row_that_names_its_split_is_in_no_other(self, tmp_path):
        rows = [APPS_PLUS_ROW | {"id": n, "split": s} for n, s in enumerate(("train", "test"))]
        (tmp_path / "data.json").write_text(json.dumps(rows))
        for number, split in enumerate(("train", "test")):
            (found,) = read_apps_plus(split, [tmp_path / "data.json"])
            assert found.problem.id == f"apps_plus/{number}"
        assert len(list(read_apps_plus(None, [tmp_path / "data.json"]))) == 2
        (dev,) = read(read_apps_plus, tmp_path / "dev.json", APPS_PLUS_ROW | {"split": "dev"})
        assert dev.reason == "split = 'dev': must be one of ('train', 'test')"

    def test_arguments_as_text_are_a_value_a_line(self, tmp_path):
        row = APPS_PLUS_ROW | {"inputs": ['[1, 2]\n"a"\n'], "outputs": [True]}
        found = one(read_apps_plus, tmp_path / "data.json", row)
        assert found.problem.tests.inputs == ([[1, 2], "a"],)


class TestMbpp:
    def test_rows_of_other_splits_are_passed_over(self, tmp_path):
        tasks = (1, 10, 11, 510, 511, 600, 601, 974)
        (tmp_path / "m.json").write_text(json.dumps([MBPP_ROW | {"task_id": t} for t in tasks]))
        for split, wanted in zip(SPLITS, ((1, 10), (11, 510), (511, 600), (601, 974)), strict=True):
            found = list(read_mbpp(split, [tmp_path / "m.json"]))
            assert [row.problem.id for row in found] == [f"mbpp/{task}" for task in wanted]

    def test_every_split_is_read_in_the_files_order_and_told_once(self, tmp_path):
        tasks = (974, "no number", 1, 510)
        (tmp_path / "m.json").write_text(json.dumps([MBPP_ROW | {"task_id": t} for t in tasks]))
        first, bad, *rest = read_mbpp(None, [tmp_path / "m.json"])
        assert [row.problem.id for row in (first, *rest)] == ["mbpp/974", "mbpp/1", "mbpp/510"]
        assert "task_id = 'no number'" in bad.reason

    def test_an_assertion_that_says_nothing_is_none(self, tmp_path):
        said = ["assert double(2) == 4"]
        found = one(read_mbpp, tmp_path / "m.json", MBPP_ROW | {"test_list": ["", *said, " "]})
        assert found.problem.tests.assertions == tuple(said)
        (none,) = read(read_mbpp, tmp_path / "m.json", MBPP_ROW | {"test_list": [" "]})
        assert isinstance(none, Rejected)

    def test_the_sanitized_list_has_its_own_words_ids_and_imports(self, tmp_path):
        found = one(read_sanitized, tmp_path / "s.json", SANITIZED_ROW)
        assert found.problem.id == "mbpp_sanitized/602"
        assert found.problem.question == SANITIZED_ROW["prompt"]
        tests = found.problem.tests
        assert tests == AssertionTests(
            assertions=("assert math.isclose(halve(3), 1.5)",), setup="import math"
        )


class TestHumanEval:
    def test_the_prompt_is_the_starter_code_and_no_assertion_is_quoted(self, tmp_path):
        problem = one(read_humaneval, tmp_path / "h.json", HUMANEVAL_ROW).problem
        assert problem.starter_code == HUMANEVAL_ROW["prompt"].rstrip()
        assert problem.tests.assertions == ("check(halves)",)
        solution = HUMANEVAL_ROW["prompt"] + HUMANEVAL_ROW["canonical_solution"]
        assert problem.canonical_solution == solution.rstrip()

    def test_the_executor_passes_what_is_right_and_fails_what_is_wrong(self, tmp_path):
        problem = one(read_humaneval, tmp_path / "h.json", HUMANEVAL_ROW).problem
        sources = {
            "right": problem.canonical_solution,
            "no helper": "def halves(xs):\n    return [x / 2 for x in xs]",
            "wrong": "def halves(xs):\n    return [1.0 for x in xs]",
            "absent": "def other(xs):\n    return xs",
        }
        requests = [Request(id=k, source=s, tests=problem.tests) for k, s in sources.items()]
        with ExecutorClient() as client:
            found = {r.id: r.verdict for r in client.run(requests, timeout_s=60)}
        assert found == {
            "right": Verdict.PASSED,
            "no helper": Verdict.PASSED,
            "wrong": Verdict.FAILED,
            "absent": Verdict.RUNTIME_ERROR,
        }


class Trap:
    """Would call ``pytest.fail`` where it is unpickled."""

    def __reduce__(self):
        return pytest.fail, ("a pickle was executed",)


class TestLiveCodeBench:
    @pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
    def test_public_tests_come_first_then_the_packed_ones(self, tmp_path, protocol):
        more = CASES * 2 + [CASES[0] | {"input": "9" * 70_000}]
        row = LIVECODEBENCH_ROW | {"private_test_cases": packed(json.dumps(more), protocol)}
        problem = one(read_livecodebench, tmp_path / "l.json", row).problem
        assert problem.tests.inputs == ("1 2\n",) * 3 + ("9" * 70_000,)
        assert problem.tests.fn_name is None
        assert (problem.id, problem.difficulty) == ("livecodebench/abc300_a", "competition")

    def test_calls_have_an_argument_a_line(self, tmp_path):
        problem = one(read_livecodebench, tmp_path / "l.json", FUNCTIONAL_ROW).problem
        assert problem.tests == IoTests(
            fn_name="f", inputs=([[1, 2], "a"],) * 2, outputs=([None],) * 2
        )
        assert problem.starter_code == FUNCTIONAL_ROW["starter_code"]

    @pytest.mark.parametrize(
        ("change", "reason"),
        [
            ({"private_test_cases": packed(Trap())}, "not as one text: .*REDUCE"),
            ({"private_test_cases": packed([json.dumps(CASES)])}, "not as one text: .*LIST"),
            ({"private_test_cases": packed(json.dumps(CASES))[:-8]}, "packed|cut off"),
            ({"private_test_cases": "?"}, "neither JSON nor packed"),
            ({"private_test_cases": packed("[")}, "not JSON"),
            ({"private_test_cases": "", "public_test_cases": "[]"}, "no tests"),
            ({"private_test_cases": json.dumps(CALLS)}, "testtype"),
            ({"metadata": '{"func_name": "f"}'}, "testtype"),
            ({"metadata": "[]", "difficulty": "mid"}, "difficulty = 'mid'"),
            ({"question_id": None}, "question_id = None"),
        ],
    )
    def test_what_is_broken_is_told_and_nothing_is_unpickled(self, tmp_path, change, reason):
        found = read(
            read_livecodebench, tmp_path / "l.json", LIVECODEBENCH_ROW | change, FUNCTIONAL_ROW
        )
        assert isinstance(found[0], Rejected)
        assert isinstance(found[1], RawProblem)
        assert re.search(reason, found[0].reason), found[0].reason

    def test_a_release_is_all_files_up_to_it(self):
        assert file_names("release_v3") == ["test.jsonl", "test2.jsonl", "test3.jsonl"]
        assert file_names("v3") == ["test3.jsonl"]
        assert file_names("v1") == ["test.jsonl"]


@pytest.mark.parametrize("reader", ROWS, ids=lambda reader: reader.__name__)
def test_any_field_taken_away_or_spoilt_loses_that_row_alone(tmp_path, reader):
    row = ROWS[reader]
    for name in row:
        for spoilt in (None, 17, ["a", {}], "\ud800", {"a": [1]}):
            change = {k: v for k, v in row.items() if k != name or spoilt is not None}
            change = change if spoilt is None else change | {name: spoilt}
            good = row | {name_of_id(row): other_id(row)}
            found = read(reader, tmp_path / "rows.json", good, change)
            assert isinstance(found[0], RawProblem)
            assert len(found) <= 2
            for rejected in found[1:]:
                assert isinstance(rejected, RawProblem) or rejected.reason


def name_of_id(row):
    return next(k for k in ("problem_id", "task_id", "question_id", "id") if k in row)


def other_id(row):
    value = row[name_of_id(row)]
    return value + 1 if isinstance(value, int) else f"{value}x"


@pytest.mark.parametrize("reader", ROWS, ids=lambda reader: reader.__name__)
def test_an_id_that_comes_twice_keeps_the_first(tmp_path, reader):
    first, second = read(reader, tmp_path / "rows.json", ROWS[reader], ROWS[reader])
    assert isinstance(first, RawProblem)
    assert second.reason == f"id comes twice: {first.problem.id!r}, first in {first.where}"
    assert second.where.endswith("row 2")


def test_every_problem_becomes_a_row_of_a_problem_file(tmp_path):
    found = [one(reader, tmp_path / "a.json", row) for reader, row in ROWS.items()]
    lines = [json.dumps(problem_to_json(raw.problem)) for raw in found]
    (tmp_path / "all.jsonl").write_text("\n".join(lines))
    again = read_jsonl("all", [tmp_path / "all.jsonl"])
    assert [raw.problem for raw in again] == [raw.problem for raw in found]


def test_what_is_no_list_is_the_one_argument_of_a_call(tmp_path):
    tests = {"fn_name": "f", "inputs": [5, [1, 2], "a"], "outputs": [1, 2, 3]}
    row = APPS_ROW | {"input_output": json.dumps(tests)}
    path = tmp_path / "train.jsonl"
    path.write_text(json.dumps(row))
    (found,) = read_apps("train", [path])
    assert found.problem.tests.inputs == ([5], [1, 2], ["a"])
