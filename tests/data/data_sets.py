"""One row of each data set in its published form, made up."""

import base64
import json
import pickle
import zlib

APPS_FILES = {
    "question.txt": "Add the numbers.\nπ\n",
    "solutions.json": json.dumps(["print(sum(map(int, input().split())))\r\n", "import sys\n"]),
    "input_output.json": json.dumps({"inputs": ["1 2\n"], "outputs": ["3\n"]}),
    "metadata.json": json.dumps({"difficulty": "interview", "url": "https://example.com"}),
}
APPS_ROW = {
    "problem_id": 7,
    "question": APPS_FILES["question.txt"],
    "solutions": APPS_FILES["solutions.json"],
    "input_output": APPS_FILES["input_output.json"],
    "difficulty": "interview",
    "url": "https://example.com",
    "starter_code": "",
}
APPS_PLUS_ROW = {
    "id": 3,
    "question": "Return n plus one.",
    "canonical_solution": "class Solution:\n    def inc(self, n):\n        return n + 1\n",
    "starter_code": "class Solution:\n    def inc(self, n):\n",
    "inputs": [[1], [5]],
    "outputs": [2, 6],
    "difficulty": "introductory",
    "fn_name": "inc",
}
MBPP_ROW = {
    "task_id": 601,
    "text": "Write a function to double a number.",
    "code": "def double(n):\r\n\treturn 2 * n",
    "test_list": ["assert double(2) == 4"],
    "test_setup_code": "",
}
SANITIZED_ROW = {
    "source_file": "Benchmark Questions Verification V2.ipynb",
    "task_id": 602,
    "prompt": "Write a function to halve a number.",
    "code": "def halve(n):\n    return n / 2",
    "test_imports": ["import math"],
    "test_list": ["assert math.isclose(halve(3), 1.5)"],
}
HUMANEVAL_ROW = {
    "task_id": "HumanEval/0",
    "prompt": "import math\nfrom typing import List\n\n\ndef half(x: float) -> float:\n"
    '    """Half of x."""\n    return x / 2\n\n\ndef halves(xs: List[float]) -> List[float]:\n'
    '    """ Half of each.\n    >>> halves([2])\n    [1.0]\n    """\n',
    "entry_point": "halves",
    "canonical_solution": "    return [half(x) for x in xs]\n",
    "test": "\n\nMETADATA = {'author': 'me'}\n\n\ndef check(candidate):\n"
    "    assert candidate([2, 3]) == [1.0, half(3)]\n    for n in range(3):\n"
    "        assert math.isclose(candidate([n])[0], n / 2)\n",
}
CASES = [{"input": "1 2\n", "output": "3\n", "testtype": "stdin"}]
CALLS = [{"input": '[1, 2]\n"a"', "output": "[null]", "testtype": "functional"}]


def packed(value: object, protocol: int = pickle.DEFAULT_PROTOCOL) -> str:
    """As LiveCodeBench packs its private tests."""
    return base64.b64encode(zlib.compress(pickle.dumps(value, protocol))).decode()


LIVECODEBENCH_ROW = {
    "question_title": "Sum",
    "question_content": "Add the numbers.",
    "platform": "atcoder",
    "question_id": "abc300_a",
    "contest_id": "abc300",
    "contest_date": "2023-04-29T00:00:00",
    "starter_code": "",
    "difficulty": "hard",
    "public_test_cases": json.dumps(CASES),
    "private_test_cases": packed(json.dumps(CASES * 2)),
    "metadata": "{}",
}
FUNCTIONAL_ROW = LIVECODEBENCH_ROW | {
    "question_id": "2777",
    "starter_code": "class Solution:\n    def f(self, xs, s):\n        ",
    "public_test_cases": json.dumps(CALLS),
    "private_test_cases": json.dumps(CALLS),
    "metadata": json.dumps({"func_name": "f"}),
}
