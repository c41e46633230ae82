"""The JSON contract and the verdicts, through the command and through the client."""

import io
import itertools
import json
import subprocess
import sys
import time

import pytest
from process_tree import descendants, gone, n_descriptors
from stepcoder_executor import (
    AssertionTests,
    ExecutorClient,
    ExecutorConfig,
    ExecutorDied,
    IoTests,
    Limits,
    ProtocolError,
    Request,
    cli,
    open_executor,
    parse_request,
    parse_result,
    parse_tests,
    request_to_json,
    result_to_json,
)

COMMAND = [sys.executable, "-m", "stepcoder_executor.cli"]
ADD = IoTests(fn_name="f", inputs=((1, 2), (3, 4)), outputs=(3, 7))
ECHO = IoTests(fn_name=None, inputs=("1 2\n", "3"), outputs=("1 2", "3\n"))


def judge(client, source, tests, **limits):
    request = Request(id="r", source=source, tests=tests, limits=Limits(**limits))
    return client.submit(request).result(timeout=60)


def command(arguments, text, **options):
    return subprocess.run(
        [*COMMAND, *arguments], input=text, capture_output=True, check=False, timeout=60, **options
    )


def lines(text):
    return [json.loads(line) for line in text.splitlines()]


VERDICTS = {
    "passed": ("def f(a, b): return a + b", ADD, "passed"),
    "wrong at once": ("def f(a, b): return a - b", ADD, "failed"),
    "wrong later": ("def f(a, b): return 3", ADD, "failed"),
    "raises": ("def f(a, b): return a / 0", ADD, "runtime_error"),
    "raises MemoryError": ("def f(a, b): return [0] * 10**10", ADD, "memory_exceeded"),
    "prints too much": ("def f(a, b): print('x' * 10**6)", ADD, "output_exceeded"),
    "syntax": ("def f(a, b) return 1", ADD, "compile_error"),
    "method": ("class Solution:\n    def f(self, a, b): return a + b", ADD, "passed"),
    "prelude": ("def f(a, b): return reduce(add, [a, b])\nfrom operator import add", ADD, "passed"),
    "main guard": ("def f(a, b): return a + b\nif __name__ == '__main__': input()", ADD, "passed"),
    "echo": ("print(input())", ECHO, "passed"),
    "echo nothing": ("input()", ECHO, "failed"),
    "no input left": ("input(); input()", ECHO, "runtime_error"),
    "exit 1": ("print(input()); exit(1)", ECHO, "runtime_error"),
    "exit at the end": ("import sys\nprint(input())\nsys.exit()", ECHO, "passed"),
}


@pytest.mark.parametrize("name", VERDICTS)
def test_verdicts(client, name):
    source, tests, verdict = VERDICTS[name]
    result = judge(client, source, tests)
    assert (result.verdict, result.tests[-1].verdict) == (verdict, verdict), result


ODD_SCRIPTS = {
    "buffer": "import sys\nsys.stdout.buffer.write(sys.stdin.buffer.read())",
    "os.read": "import os\nos.write(1, os.read(0, 1000))",
    "open(0)": "print(open(0).read())",
    "/dev/stdin": "print(open('/dev/stdin').read())",
    "mixed reads": "import sys\na = sys.stdin.read(1)\nprint(a + sys.stdin.readline())",
    "iteration": "import sys\nfor line in sys.stdin: print(line, end='')",
    "readlines": "import sys\nprint(*sys.stdin.readlines(), sep='')",
    "atexit": "import atexit\natexit.register(lambda: print(text))\ntext = input()",
    "thread": (
        "import sys, threading\nsys.setrecursionlimit(10**6)\nthreading.stack_size(1 << 26)\n"
        "def main(): print(input())\nthreading.Thread(target=main).start()"
    ),
    "thread pool": (
        "from concurrent.futures import ThreadPoolExecutor as P\n"
        "with P(2) as p: print(*p.map(str, input().split()))"
    ),
    "main": "def main():\n    print(input())\nif __name__ == '__main__':\n    main()",
    "global": "def main():\n    global x\n    x = input()\nmain()\nprint(x)",
    "future": "from __future__ import annotations\ndef g(x: Undefined): print(x)\ng(input())",
    "dataclass": (
        "from dataclasses import dataclass\n@dataclass\nclass A:\n    x: str\nprint(A(input()).x)"
    ),
    "named tuple": (
        "from collections import namedtuple\nA = namedtuple('A', 'x')\nprint(A(input()).x)"
    ),
    "pickle": (
        "import pickle\nclass A: pass\na = A()\na.x = input()\n"
        "print(pickle.loads(pickle.dumps(a)).x)"
    ),
    "enum": "import enum\nclass A(enum.Enum):\n    X = input()\nprint(A.X.value)",
    "replaced stdout": (
        "import io, sys\nsys.stdout = io.TextIOWrapper(open(1, 'wb', 0))\nprint(input())"
    ),
    "never closed": "out = open(1, 'w', closefd=False)\nout.write(input())",
    "exit flushed": "import os\nprint(input(), flush=True)\nos._exit(0)",
    "asyncless": "def g():\n    yield input()\nprint(next(g()))",
    "own input": "import sys\ninput = sys.stdin.readline\nprint(input())",
    "byte order mark": "\ufeffprint(input())",
    "encoding line": "# -*- coding: latin-1 -*-\nx = 'é'\nprint(input())",
    "CRLF": "x = input()\r\nif x:\r\n    print(x)\r\n",
    "stderr": "import sys\nprint('note', file=sys.stderr)\nprint(input())",
    "__builtins__": "__builtins__.print(input())",
    "patched builtins": "import builtins\nbuiltins.say = print\nsay(input())",
    "deep recursion": (
        "import sys\nsys.setrecursionlimit(10**6)\ndef g(n): return n and g(n - 1)\n"
        "g(20000)\nprint(input())"
    ),
    "decimal": (
        "from decimal import Decimal\nprint(' '.join(str(Decimal(x)) for x in input().split()))"
    ),
    "floats": "print(*[float(x) for x in input().split()])",
    "blank lines": "print()\nprint(input())\nprint('\\n')",
    "exec": "exec('print(input())')",
    "sleep": "import time\ntime.sleep(0.01)\nprint(input())",
    "warnings": "import warnings\nwarnings.warn('x')\nprint(input(), '\\d'[:0])",
    "private name": (
        "__name = input()\nclass A:\n    def g(self): return globals()['__name']\nprint(A().g())"
    ),
    "prelude names": "print(*map(str, deque(input().split())))",
    "shadowed prelude": "deque = list\nmath = print\nmath(input())",
    "stop iteration": "it = iter([1])\nnext(it)\nnext(it, None)\nprint(input())",
    "devnull": "import os\nopen(os.devnull).read()\nprint(input())",
    "lazy import": "import difflib, csv, string, xml.dom.minidom\nprint(input())",
}


@pytest.mark.parametrize("name", ODD_SCRIPTS)
def test_odd_but_correct(client, name):
    result = judge(client, ODD_SCRIPTS[name], ECHO)
    assert result.verdict == "passed", result


@pytest.mark.parametrize(
    ("assertion", "source", "verdict", "is_trusted"),
    [
        ("assert f() == (1, 2)", "def f(): return (1, 2)", "passed", True),
        ("assert f() == (1, 2)", "def f(): return [1, 2]", "failed", True),
        ("assert f() == {1: 2}", "def f(): return Counter([1, 1])", "passed", True),
        ("assert set(f()) == {1, 2}", "def f(): return [2, 1, 2]", "passed", True),
        ("assert sorted(f()) == [1, 2]", "def f(): return {2, 1}", "passed", True),
        ("assert math.isclose(f(), 0.5, rel_tol=0.1)", "def f(): return 0.51", "passed", True),
        ("assert abs(f() - 0.5) < 1e-3", "def f(): return 0.6", "failed", True),
        ("assert f() is None", "def f(): pass", "passed", True),
        ("assert not f()", "def f(): return 0", "passed", True),
        ("assert f()", "def f(): return []", "failed", True),
        ("assert f() == 1 and f() != 2", "def f(): return 1", "passed", True),
        ("assert len(set(f())) == 2", "def f(): return 'aab'", "passed", True),
        ("assert max(f()) == 1", "def max(x): return 1\ndef f(): return 9", "passed", True),
        ("assert f() == 2", "def f(): return 1 / 0", "runtime_error", True),
        ("assert f() < 2", "def f(): return 'a'", "runtime_error", True),
        (
            "assert [x for x in f()] == g()",
            "def f(): return 'a'\ng = lambda: ['a']",
            "passed",
            False,
        ),
        ("assert f() == g()", "def f(): return object\ng = f", "passed", False),
        ("assert f(k) == 4", "def f(x): return x + 1", "passed", True),
    ],
)
def test_assertions(client, assertion, source, verdict, is_trusted):
    result = judge(client, source, AssertionTests(assertions=(assertion,), setup="k = 3"))
    assert result.verdict == verdict, result
    assert ("trusted: false" in result.tests[0].detail) is not is_trusted


def test_expected_values_stay_outside(client):
    source = (
        "import gc\ndef f(x):\n"
        "    seen = [o for o in gc.get_objects() if type(o) in (list, dict)]\n"
        "    sought = 99172 + x\n    return sought if str(sought) in repr(seen) else 0\n"
    )
    for assertion in ("assert f(1) == 99173", "assert abs(f(1) - 99173) < 1"):
        assert judge(client, source, AssertionTests(assertions=(assertion,))).verdict != "passed"


def test_state_does_not_leak_between_tests(client):
    source = (
        "import sys\nn = [0]\ndef f(a, b):\n    n[0] += 1\n    sys.k = getattr(sys, 'k', 0) + 1\n"
        "    return a + b + n[0] + sys.k - 2\n"
    )
    assert judge(client, source, ADD).verdict == "passed"


def test_run_all_goes_on():
    four = IoTests(fn_name="f", inputs=((0,), (1,), (2,), (3,)), outputs=(0, 9, 2, 3))
    source = "import os\ndef f(x):\n    if x == 2: os._exit(3)\n    return x\n"
    with ExecutorClient(ExecutorConfig(slots=1, run_all=True)) as client:
        result = judge(client, source, four)
    verdicts = [test.verdict for test in result.tests]
    assert verdicts == ["passed", "failed", "runtime_error", "passed"]
    assert result.verdict == "failed"


def test_run_command():
    requests = [
        {"id": "good", "source": "print(input())", "tests": {"inputs": ["1"], "outputs": ["1"]}},
        {
            "id": "covered",
            "source": "def f(x):\n    return x",
            "tests": {"fn_name": "f", "inputs": [[1]], "outputs": [2]},
            "limits": {"wall_s": 5},
            "coverage": True,
        },
    ]
    text = "\n".join(["{", "[]", '{"id": "half"}', *map(json.dumps, requests), ""])
    done = command(["run"], text.encode())
    assert done.returncode == 0, done.stderr
    results = {line["id"]: line for line in lines(done.stdout)[2:]}
    assert [line["id"] for line in lines(done.stdout)[:2]] == [None, None]
    assert results["half"]["verdict"] == "executor_error"
    assert "source is missing" in results["half"]["detail"]
    assert set(results["good"]) == {"id", "verdict", "tests", "wall_s"}
    assert set(results["good"]["tests"][0]) == {"verdict", "wall_s", "detail"}
    assert results["covered"]["verdict"] == "failed"
    assert results["covered"]["covered"] == [[0, 22]]


def test_only_results_reach_standard_output(monkeypatch, capsys):
    class Talkative(ExecutorClient):
        def submit(self, request):
            print("a word from a library")
            return super().submit(request)

    request = Request(id="a", source="print(input())", tests=ECHO)
    text = json.dumps(request_to_json(request)).encode()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text)))
    monkeypatch.setattr(cli, "open_executor", lambda config, *_: Talkative(config))
    assert cli.run(cli._parser().parse_args(["run", "--slots", "1"])) == 0
    said = capsys.readouterr()
    assert [line["verdict"] for line in lines(said.out)] == ["passed"]
    assert "a word" in said.err


def test_bad_usage_and_doctor():
    assert command(["run", "--isolation", "soft"], b"").returncode == 2
    assert command([], b"").returncode == 2
    report = json.loads(command(["doctor", "--json"], b"").stdout)
    assert [entry["rung"] for entry in report["rungs"]] == ["full", "landlock", "seccomp", "none"]
    assert all(entry["works"] or entry["reason"] for entry in report["rungs"])


def test_cancelling_frees_the_slot():
    with ExecutorClient(ExecutorConfig(slots=1)) as client:
        endless = Request(id="r", source="while True: pass", tests=ECHO, limits=Limits(wall_s=600))
        future = client.submit(endless)
        time.sleep(0.2)
        assert future.cancel()
        assert judge(client, "print(input())", ECHO).verdict == "passed"


def test_no_descriptor_or_process_is_left():
    before = n_descriptors("self")
    with ExecutorClient(ExecutorConfig(slots=2)) as client:
        assert judge(client, "print(input())", ECHO).verdict == "passed"
        family = [client._process.pid, *descendants(client._process.pid)]
    assert gone(family)
    assert n_descriptors("self") == before


def test_deadline_of_a_batch_frees_the_slots():
    endless = Request(id="r", source="while True: pass", tests=ECHO, limits=Limits(wall_s=600))
    with ExecutorClient(ExecutorConfig(slots=1)) as client:
        with pytest.raises(TimeoutError, match="3 programs unfinished after"):
            list(client.run([endless] * 3, timeout_s=0.3))
        assert client.metrics()["queue_depth"] == 0
        assert judge(client, "print(input())", ECHO).verdict == "passed"


def test_deadline_holds_while_results_keep_coming():
    short = Request(id="r", source="print(input())", tests=ECHO)
    with (
        ExecutorClient(ExecutorConfig(slots=1)) as client,
        pytest.raises(TimeoutError, match="unfinished"),
    ):
        for _ in client.run(itertools.repeat(short), timeout_s=0.5):
            pass


def test_deadline_holds_while_others_fill_the_queue():
    endless = Request(id="r", source="while True: pass", tests=ECHO, limits=Limits(wall_s=600))
    with ExecutorClient(ExecutorConfig(slots=1, max_pending=1)) as client:
        other = client.submit(endless)
        with pytest.raises(TimeoutError, match="1 programs unfinished"):
            list(client.run([endless], timeout_s=0.2))
        assert other.cancel()


def test_a_request_that_is_no_json_leaves_the_executor_whole():
    odd = IoTests(fn_name="f", inputs=((b"bytes",),), outputs=(3,))
    with ExecutorClient(ExecutorConfig(slots=1, max_pending=1)) as client:
        with pytest.raises(TypeError, match="JSON"):
            judge(client, "", odd)
        assert judge(client, "print(input())", ECHO).verdict == "passed"


def test_round_trips(client):
    fields = request_to_json(Request(id="r", source="print(input())", tests=ECHO, coverage=True))
    assert request_to_json(parse_request(json.loads(json.dumps(fields)))) == fields
    result = client.submit(parse_request(fields)).result()
    assert parse_result(json.loads(json.dumps(result_to_json(result)))) == result


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"inputs": ["a"], "outputs": []}, "tests.outputs is"),
        ({"inputs": ["a"], "outputs": ["b", "c"]}, "as many entries"),
        ({"fn_name": "f", "inputs": [3], "outputs": [1]}, r"tests.inputs\[0\] is 3"),
        ({"fn_name": "f(", "inputs": [[]], "outputs": [1]}, "identifier"),
        ({"inputs": [1], "outputs": ["b"]}, r"tests.inputs\[0\] is 1"),
        ({"assertions": [], "setup": ""}, "tests.assertions is"),
        ({"assertions": [3]}, r"tests.assertions\[0\] is 3"),
        ({"inputs": ["a"], "outputs": ["b"], "other": 1}, '"other"'),
        (None, "tests is null"),
    ],
)
def test_bad_tests_are_named(fields, message):
    with pytest.raises(ProtocolError, match=message):
        parse_tests(fields)


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("ray://head:10001", r"'ray://head:10001'; allowed: 'auto' or host:port"),
        ("127.0.0.1:1", r"no Ray cluster at '127.0.0.1:1': "),
    ],
)
def test_a_ray_cluster_that_is_not_there_is_said(address, message):
    pytest.importorskip("ray")
    with pytest.raises(ExecutorDied, match=message):
        open_executor(backend="ray", ray_address=address)


def test_an_unusable_backend_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ExecutorDied, match=r"pip install 'stepcoder-executor\[ray\]'"):
        open_executor(backend="ray")
    with pytest.raises(ValueError, match="backend is 'slurm'; allowed:"):
        open_executor(backend="slurm")
