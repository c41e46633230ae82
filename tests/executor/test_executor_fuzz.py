"""Whatever the lines of ``stepcoder-executor run`` hold, each gets one result line."""

import itertools
import json
import subprocess
import sys
from collections import Counter
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from request_lines import (
    LAST,
    NESTED,
    ODD_LINES,
    SAMPLES,
    VALUES,
    mutated_bytes,
    mutated_text,
)
from stepcoder_executor import ProtocolError, Verdict, parse_request

COMMAND = [sys.executable, "-m", "stepcoder_executor.cli", "run", "--slots", "2"]
KEYS = {"id", "verdict", "tests", "wall_s"}
OPTIONAL = {"covered", "detail"}


def results_of(lines, end=b"\n"):
    """The results of a run, ``LAST`` not among them, after the checks that hold for any lines."""
    text = end.join([*lines, LAST]) + end
    done = subprocess.run(COMMAND, input=text, capture_output=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    results = [json.loads(line) for line in done.stdout.splitlines()]
    for result in results:
        assert KEYS <= set(result) <= KEYS | OPTIONAL
        assert result["verdict"] in tuple(Verdict)
        assert len(result.get("detail", "")) < 1000
        assert all(set(test) == {"verdict", "wall_s", "detail"} for test in result["tests"])
    (last,) = [result for result in results if result["id"] == "last"]
    assert last["verdict"] == "passed"
    results.remove(last)
    assert len(results) == len(lines)
    return results


def own_id(line):
    """The id that a line's result must carry: a string's own, else null."""
    try:
        fields = json.loads(line + b"\n")
    except (ValueError, RecursionError):
        return None
    found = fields.get("id") if isinstance(fields, dict) else None
    return found if isinstance(found, str) else None


def check_ids(lines):
    results = results_of(lines)
    assert Counter(result["id"] for result in results) == Counter(map(own_id, lines))
    return results


FIELDS = {
    "id": "string",
    "source": "string",
    "tests": "object",
    "tests.fn_name": "string null",
    "tests.inputs": "array",
    "tests.inputs[0]": "array",
    "tests.outputs": "array",
    "tests.assertions": "array",
    "tests.assertions[0]": "string",
    "tests.setup": "string null",
    "limits": "object null",
    "limits.wall_s": "",
    "limits.cpu_s": "null",
    "limits.memory_mb": "",
    "limits.output_kb": "",
    "coverage": "boolean",
}


def with_field(k, path, text):
    """A valid request whose field at ``path`` is the JSON ``text``."""
    sample = SAMPLES["assertions" if path.startswith(("tests.a", "tests.s")) else "call"]
    fields = json.loads(json.dumps(sample | {"id": f"{path} {k}"}))
    *parents, name = path.replace("[0]", ".0").split(".")
    inside = fields
    for parent in parents:
        inside = inside[parent]
    inside[0 if name == "0" else name] = "HERE"
    return json.dumps(fields).replace('"HERE"', text).encode()


def test_a_field_of_a_wrong_type_or_out_of_range_is_named():
    lines, named = [], {}
    for path, allowed in FIELDS.items():
        texts = [text for kind in VALUES if kind not in allowed for text in VALUES[kind]]
        for k, text in enumerate(texts):
            lines.append(with_field(k, path, text))
            named[f"{path} {k}"] = path
    results = check_ids(lines)
    accepted = {result["id"] for result in results if result["verdict"] != "executor_error"}
    assert not accepted
    for result in results:
        if result["id"] is not None:
            assert named[result["id"]].removesuffix("[0]") in result["detail"]


def test_a_line_without_an_id_is_named_by_its_number():
    (first, second) = check_ids([b"{", json.dumps({"source": ""}).encode()])
    assert first["detail"].startswith("input line 1: not JSON: ")
    assert second["detail"].startswith("input line 2: id is missing")


def test_grammar_of_requests():
    random = Random(1)
    check_ids([mutated_text(random) for _ in range(3000)])


def test_bytes_of_requests():
    random = Random(2)
    check_ids([mutated_bytes(random) for _ in range(3000)])


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10, 16))
def test_many_more(seed):
    random = Random(seed)
    check_ids([random.choice([mutated_text, mutated_bytes])(random) for _ in range(20_000)])


def test_odd_lines():
    results = check_ids(list(ODD_LINES.values()))
    verdicts = {result["id"]: result["verdict"] for result in results}
    assert (verdicts["marked"], verdicts["again"], verdicts["a"]) == (
        "passed",
        "passed",
        "compile_error",
    )


def test_nested_assertions():
    lines = []
    for name, depth in itertools.product(sorted(NESTED), (20, 90, 190, 900, 3000, 9000, 100_000)):
        before, after = NESTED[name]
        assertion = f"assert {before * depth}f(1){after * depth} == 1"
        fields = {"id": f"{name} {depth}", "source": "def f(*x): return 1"}
        lines.append(json.dumps(fields | {"tests": {"assertions": [assertion]}}).encode())
    check_ids(lines)


def deepest(low=1, high=200_000):
    """How many lists within each other ``json`` reads here."""
    while low + 1 < high:
        middle = (low + high) // 2
        try:
            json.loads("[" * middle + "]" * middle)
        except RecursionError:
            high = middle
        else:
            low = middle
    return low


@pytest.mark.parametrize("place", ["inputs", "outputs"])
def test_values_nested_as_deeply_as_json_allows(place):
    limit = deepest()
    lines = []
    for depth in (10, 100, limit // 2, *range(limit - 40, limit + 10)):
        value = "[" * depth + "]" * depth
        tests = {"fn_name": "f", "inputs": [[0]], "outputs": [0]} | {place: ["HERE"]}
        fields = {"id": str(depth), "source": "def f(*x): return x[0]", "tests": tests}
        lines.append(json.dumps(fields).replace('"HERE"', value).encode())
    ids = {result["id"] for result in results_of(lines)}
    assert {"10", "100", str(limit // 2)} <= ids


LONG = 20_000_000


def test_long_lines():
    letters = "a" * LONG
    requests = [
        json.loads(LAST) | changed
        for changed in (
            {"id": letters},
            {"id": "b", "source": letters},
            {"id": "c", "source": f"#{letters[:7_000_000]}"},
            {"id": "d", "tests": {"inputs": [letters], "outputs": [letters]}},
            {"id": "e", letters: 1},
        )
    ]
    lines = [*(json.dumps(fields).encode() for fields in requests), letters.encode()]
    lines += [b'{"id": "h", "' + letters.encode() + b'": 1}']
    verdicts = {result["id"]: result["verdict"] for result in check_ids(lines)}
    assert (verdicts["c"], verdicts["d"]) == ("failed", "passed")
    assert {verdicts[name] for name in "beh"} == {"executor_error"}


@pytest.mark.parametrize("end", [b"\r\n", b"\n\n", b"\n \t\r\n", b"\n" + b" " * LONG + b"\n"])
def test_blank_lines_and_carriage_returns_are_no_requests(end):
    lines = [LAST.replace(b"last", str(k).encode()) for k in range(3)]
    assert {result["verdict"] for result in results_of(lines, end)} == {"passed"}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
NAMES = st.sampled_from(["id", "source", "tests", "limits", "coverage"])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.dictionaries(NAMES, JSON) | JSON, max_size=3))
def test_any_json_is_refused_with_a_name(objects):
    for thing in objects:
        with pytest.raises(ProtocolError, match=r"allowed|missing"):
            parse_request(thing)
