"""Odd but correct programs print what they print under Python itself.

``odd_programs.txt`` has them, each after a line ``### name``: ways of reading, printing, recursing
and leaving as people and models write them.
"""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from stepcoder_executor import IoTests, Limits, Request

TEXT = (Path(__file__).parent / "odd_programs.txt").read_text(encoding="utf-8")
PROGRAMS = dict(re.findall(r"^### (.+)\n([\s\S]*?)(?=^### |\Z)", TEXT, re.M))
INPUT = "3\n1 2 3\n\n"


def printed(source, folder):
    """What Python itself prints; a file for its input, as the executor has it."""
    (folder / "solution.py").write_text(source, encoding="utf-8")
    (folder / "in.txt").write_text(INPUT)
    with open(folder / "in.txt", "rb") as text:
        command = [sys.executable, "-X", "utf8", "solution.py"]
        done = subprocess.run(command, stdin=text, capture_output=True, cwd=folder, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.decode()


def test_programs_print_what_they_print_under_python(client, tmp_path):
    requests = []
    for name, source in PROGRAMS.items():
        tests = IoTests(fn_name=None, inputs=(INPUT,) * 2, outputs=(printed(source, tmp_path),) * 2)
        limits = Limits(wall_s=20)
        for kind in (False, True):
            own = f"{name}, coverage {kind}"
            request = Request(id=own, source=source, tests=tests, limits=limits, coverage=kind)
            requests.append(request)
    wrong = {
        result.id: [(test.verdict.value, test.detail) for test in result.tests][-1:]
        for result in client.run(requests)
        if result.verdict != "passed"
    }
    assert not wrong


def test_there_are_many():
    assert len(PROGRAMS) >= 130


FOLDERS = {
    "the names that emptying uses": (
        "os.makedirs('a/b/c')\nos.makedirs('.emptying-0/x')\nopen('.emptying-1', 'w').close()"
    ),
    "filled but not to be read": "os.mkdir('a', 0o300)\nos.mkdir('a/b')\nopen('a/f', 'w').close()",
    "not to be written to": "os.mkdir('a')\nos.mkdir('a/b', 0o500)",
    "a mask": "os.umask(0o477)\nos.makedirs('a/b/c')",
    "nothing allowed": "os.umask(0o777)\nos.mkdir('a')",
}


@pytest.mark.parametrize("name", FOLDERS)
def test_no_folder_ends_the_slot(only_rung, name):
    source = f"import os\n{FOLDERS[name]}\nprint(os.listdir('.'))"
    tests = IoTests(fn_name=None, inputs=("",), outputs=("no",))
    with only_rung("full") as client:
        empty = Request(
            id="after",
            source="import os\nprint(os.listdir('.'))",
            tests=IoTests(fn_name=None, inputs=("",), outputs=("[]",)),
        )
        bad = [Request(id=f"{k}", source=source, tests=tests) for k in range(4)]
        for result in client.run([*bad, empty, empty]):
            assert result.verdict == ("passed" if result.id == "after" else "failed"), result
        assert client.metrics()["slot_restarts"] == 0


SLOW_TO_MAP = {
    "type parameters": "\n".join(f"def f{k}[T: int](x: T): return x" for k in range(4000)),
    "one long line": "a = 1\n" + "b = '😀' if a else '𝒳'; " * 6000,
}


@pytest.mark.parametrize("name", SLOW_TO_MAP)
def test_coverage_takes_no_longer_than_the_program_is_long(client, name):
    tests = IoTests(fn_name=None, inputs=("",), outputs=("",))
    limits = Limits(wall_s=20, memory_mb=1024)
    request = Request(id="a", source=SLOW_TO_MAP[name], tests=tests, limits=limits, coverage=True)
    (result,) = client.run([request])
    assert result.verdict == "passed"
    assert len(result.covered) > 3000
