"""By line, coverage is that of coverage.py.

A line is compared if coverage.py calls it a statement's first line. It is executed on our side if
any token that begins on it, comments aside, begins with a covered character; then, and only then,
may a token further down in the same statement.
"""

import contextlib
import copy
import io
import re
import sys
import tokenize
import warnings
from pathlib import Path

import coverage
import pytest
from program_generator import Generator
from stepcoder_executor import IoTests, Limits, Request
from test_executor_coverage import CALLED_WITH_3, TABLE, flags, unmarked

from stepcoder_jax.data.builtin import builtin_problems

PROGRAMS = Path(__file__).with_name("line_programs.txt")
SCRIPT = IoTests(fn_name=None, inputs=("",), outputs=("",))
# coverage.py cannot say what ran in a process that was killed or left without notice, and it reads
# a form feed as a blank, so that a line which begins with one is to it indented.
NOT_MEASURED = ("timeout", "exit", "crash", "form feed")
LINE_END = re.compile(r"\r\n|\r|\n")
LAYOUT = (
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENDMARKER,
)

BLOCKS = "def f(a):\n\tif a:\n\t\ta = 1\n\telse:\n\t\ta = 'é'\n\treturn (a,\n\t\t1)\nf(1)\n"

BREAKS = {
    "tabs": BLOCKS,
    "CRLF": BLOCKS.replace("\n", "\r\n"),
    "CR": BLOCKS.replace("\n", "\r"),
    "mixed": BLOCKS.replace(":\n", ":\r\n").replace("f(1)", "f(\r1)"),
    "CRLF in a text": "a = '''\r\n'''; b = 1\r\nif not a:\r\n    a = '\\\r\n'\r\na = 2\r\n",
    "other ends": "a = 1\x0c\n\x0c\nif not a:\n    a = 2\na = '\x0b\x1c\x85\u2028'\nb = 3\n",
    "byte order mark": "\ufeffif 1 > 2:\n    a = 1\nb = 2\n",
    "no end of line": "if not []:\n    a = 1\nelse:\n    a = 2",
    "no end after a comment": "if []:\n    a = 1  # é\n# é",
    "encoding": "# -*- coding: utf-8 -*-\nif []:\n    é = 'é'\nb = 1\n",
}


def handwritten():
    _, *parts = re.split(r"^=== (.+)\n", PROGRAMS.read_text("utf-8"), flags=re.MULTILINE)
    scripts = dict(zip(parts[::2], parts[1::2], strict=True)) | BREAKS
    table = {name: unmarked(TABLE[name])[0] for name in TABLE if name not in NOT_MEASURED}
    return {f"script {name}": (source, SCRIPT) for name, source in scripts.items()} | {
        f"table {name}": (source, CALLED_WITH_3) for name, source in table.items()
    }


def generated(seeds):
    return {f"seed {seed}": (Generator(seed).program(), SCRIPT) for seed in seeds}


def canonical(count):
    problems = [
        *builtin_problems("train", count=count),
        *builtin_problems("unseen_families", count=count),
        *builtin_problems("handwritten_heldout"),
    ]
    return {problem.id: (problem.canonical_solution, problem.tests) for problem in problems}


def ours(client, programs):
    """For each program the lines that we call executed, and where the statements executed begin."""
    requests = [
        Request(id=name, source=source, tests=tests, limits=Limits(wall_s=10), coverage=True)
        for name, (source, tests) in programs.items()
    ]
    return {
        result.id: executed_lines(programs[result.id][0], result.covered)
        for result in client.run(requests)
    }


def executed_lines(source, covered):
    is_covered = flags(source, covered)
    mark = int(source.startswith("\ufeff"))
    starts = [mark, *(match.end() for match in LINE_END.finditer(source))]
    text = LINE_END.sub("\n", source[mark:])
    begun, touched, first = set(), set(), None
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.NEWLINE:
            first = None
        if token.type not in LAYOUT:
            line, column = token.start
            first = first or line
            if is_covered[starts[line - 1] + column]:
                begun.add(line)
                touched.add(first)
    return begun, touched


def theirs(programs, folder):
    """For each program the statements' lines, and which of them did not run, by coverage.py."""
    paths = {name: folder / f"p{k}.py" for k, name in enumerate(programs)}
    measured = coverage.Coverage(data_file=None, config_file=False, include=[f"{folder}/*"])
    measured.clear_exclude()
    for name, path in paths.items():
        path.write_bytes(programs[name][0].encode())
    with warnings.catch_warnings(action="ignore"):
        codes = {name: compile(path.read_bytes(), path, "exec") for name, path in paths.items()}
        measured.start()
        try:
            for name, (_, tests) in programs.items():
                run_here(codes[name], tests)
        finally:
            measured.stop()
        reports = {name: measured.analysis2(str(path)) for name, path in paths.items()}
    return {name: (set(report[1]), set(report[3])) for name, report in reports.items()}


def run_here(code, tests):
    for given in tests.inputs:
        names = {"__name__": "solution" if tests.fn_name else "__main__"}
        text = "" if tests.fn_name else given
        with pytest.MonkeyPatch.context() as patch, contextlib.suppress(Exception, SystemExit):
            patch.setattr(sys, "stdin", io.StringIO(text))
            patch.setattr(sys, "stdout", io.StringIO())
            exec(code, names)
            if tests.fn_name:
                owner = names.get("Solution", object)()
                function = names.get(tests.fn_name) or getattr(owner, tests.fn_name)
                function(*copy.deepcopy(given))


def check(client, programs, folder):
    found = ours(client, programs)
    wrong = {}
    for name, (statements, missing) in theirs(programs, folder).items():
        begun, touched = (lines & statements for lines in found[name])
        executed = statements - missing
        if not begun == touched == executed:
            wrong[name] = sorted((begun ^ executed) | (touched ^ executed))
    assert not wrong


def test_handwritten_programs(client, tmp_path):
    check(client, handwritten(), tmp_path)


def test_canonical_solutions(client, tmp_path):
    check(client, canonical(60), tmp_path)


@pytest.mark.parametrize("first", [20_000, 20_100, 20_200])
def test_generated_programs(client, first, tmp_path):
    check(client, generated(range(first, first + 100)), tmp_path)


@pytest.mark.slow
def test_many_generated_programs(client, tmp_path):
    check(client, generated(range(30_000, 33_000)), tmp_path)
