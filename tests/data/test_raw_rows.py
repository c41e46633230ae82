"""Files and folders whose form is told by what is in them."""

import json

import pytest
from data_sets import (
    APPS_PLUS_ROW,
    APPS_ROW,
    HUMANEVAL_ROW,
    LIVECODEBENCH_ROW,
    MBPP_ROW,
    SANITIZED_ROW,
)

from stepcoder_jax.data.json_rows import Rejected
from stepcoder_jax.data.raw import RawProblem
from stepcoder_jax.data.raw_rows import raw_rows

PROBLEM_ROW = {
    "id": "p/1",
    "question": "Print it.",
    "difficulty": "interview",
    "starter_code": "",
    "canonical_solution": None,
    "tests": {"fn_name": None, "inputs": ["1"], "outputs": ["1"]},
    "source": "p",
}
# By which field a row is known, and which names it.
FORMS = {
    "apps": (APPS_ROW, "input_output", "problem_id"),
    "apps_plus": (APPS_PLUS_ROW, "inputs", "id"),
    "mbpp": (MBPP_ROW, "test_list", "task_id"),
    "mbpp_sanitized": (SANITIZED_ROW, "test_list", "task_id"),
    "humaneval": (HUMANEVAL_ROW, "entry_point", "task_id"),
    "livecodebench": (LIVECODEBENCH_ROW, "question_content", "question_id"),
    "p": (PROBLEM_ROW, "source", "id"),
}


def named(row, field, number):
    value = row[field]
    return row | {field: value + number if isinstance(value, int) else f"{value}{number}"}


@pytest.mark.parametrize("source", FORMS)
def test_broken_first_rows_decide_nothing_and_each_row_is_told_once(tmp_path, source):
    row, known_by, name = FORMS[source]
    lacking = {field: value for field, value in row.items() if field != known_by}
    broken = [{"a": 1}, lacking, {"inputs": [], "outputs": []}, ["no object"]]
    rows = [*broken, *(named(row, name, number) for number in range(3))]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(one) + "\n" for one in rows))
    found = list(raw_rows(str(path), None).read())
    assert [type(one) for one in found] == [Rejected] * 4 + [RawProblem] * 3
    assert {one.problem.source for one in found[4:]} == {source}
    assert [one.where for one in found] == [f"{path} line {n}" for n in range(1, 8)]


def test_a_row_without_a_problems_fields_says_which_in_few_words(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({f"field {n}": n for n in range(5000)}))
    (found,) = raw_rows(str(path), None).read()
    assert found.reason.startswith("fields: missing ['id', 'question'")
    assert len(found.reason) < 600
