"""Coverage says exactly which characters ran."""

import re
from itertools import pairwise

import pytest
from program_generator import Generator
from stepcoder_executor import IoTests, Limits, Request

CALLED_WITH_3 = IoTests(fn_name="f", inputs=((3,),), outputs=(None,))

# « and » surround what does not run; everything else that is not white space does.
TABLE = {
    "else": "def f(a):\n    if a:\n        x = 1\n    «else:\n        x = 2»\n    return x\n",
    "then": "def f(a):\n    if a > 5:\n        «x = 1»\n    else:\n        x = 2\n",
    "elif": (
        "def f(a):\n    if a == 1:\n        «b = 1»\n    elif a == 3:\n        b = 2\n"
        "    «elif a == 4:\n        b = 3»\n    «else:\n        b = 4»\n"
    ),
    "one line": "def f(a):\n    if a > 5: «b = 1»\n    else: b = 2; c = 3\n",
    "decorator": "def d(g): return g\n@d\ndef f(a):\n    pass\n@d\ndef g(a):\n    «pass»\n",
    "decorator with arguments": (
        "def d(k):\n    def e(g):\n        return g\n    return e\n@d(1)\ndef f(a):\n    return a\n"
    ),
    "never called": "def g(x, y=1):\n    «z = x\n    return z»\ndef f(a): return 1\n",
    "class": (
        "class C(object):\n    k = 1\n    def m(self):\n        «return 1»\n"
        "    def n(self): return C.k\ndef f(a):\n    return C().n()\n"
    ),
    "comprehension": "def f(a):\n    return [k for k in range(a) if k > 9 and «k»]\n".replace(
        "[k for", "[«k» for"
    ),
    "dict comprehension": "def f(a):\n    return {«k»: «v» for k, v in []}\n".replace(
        "«k»: «v» for k, v in", "«k: v» for «k, v» in"
    ),
    "set comprehension": "def f(a):\n    return {k for k in range(a)}\n",
    "generator": "def f(a):\n    return sum(k if k else «b» for k in [1, 2])\n",
    "generator unused": "def f(a):\n    x = («k» for «k» in range(a))\n",
    "lambda": "def f(a):\n    g = lambda x: «x + 1»\n    h = lambda x: x\n    h(1)\n",
    "conditional": "def f(a):\n    return a if a else «b»\n",
    "nested conditional": "def f(a):\n    return 1 if a == 3 else («2 if a else 4»)\n",
    "and": "def f(a):\n    return a == 1 and «g(a)»\n",
    "or": "def f(a):\n    return (a or «b» or «c»)\n",
    "not": "def f(a):\n    if a == 3 or «not b»:\n        pass\n",
    "chain": "def f(a):\n    return 5 < a < «b»\n",
    "match": (
        "def f(a):\n    match a:\n        case 1:\n            «x = 1»\n        case 2 | 3:\n"
        "            x = 2\n        «case _:\n            x = 3»\n"
    ),
    "try": (
        "def f(a):\n    try:\n        x = 1\n    «except ValueError:\n        x = 2»\n    else:\n"
        "        x = 3\n    finally:\n        x = 4\n"
    ),
    "except": (
        "def f(a):\n    try:\n        int('x') «+ 1»\n        «y = 1»\n    except KeyError as e:\n"
        "        «raise»\n    except (OSError, ValueError) as e:\n        y = 2\n"
        "    finally:\n        del e.args\n".replace("        del e.args\n", "        y = 3\n")
    ),
    "with": "def f(a):\n    with open('/dev/null') as x, x:\n        y = 1\n",
    "while": "def f(a):\n    while a:\n        a -= 1\n        continue\n        «a = 9»\n",
    "while true": "def f(a):\n    while True:\n        if a: break\n        «a += 1»\n    return\n",
    "for else": "def f(a):\n    for k in range(a):\n        break\n    «else:\n        a = 1»\n",
    "for never": "def f(a):\n    for «k» in []:\n        «a = k»\n    else:\n        a = 2\n",
    "many lines": (
        "def f(a):\n    x = max(\n        a,\n        1 if a else «2»,\n    )\n    return x\n"
    ),
    "format string": "def f(a):\n    return f'é{a}ü{a if a else «b»!r}ö'\n",
    "non-ASCII": "def f(a):\n    é = 'ñandú' if a else «'ß'»; ü = é  # ø\n    return ü\n",
    "wide": "def f(a):\n    x = '😀😀' if not a else 1; y = «»2\n".replace(
        "'😀😀' if not", "«'😀😀'» if not"
    ),
    "tabs": "def f(a):\n\tif a:\n\t\treturn 1\n\t«return 2»\n",
    "CRLF": "def f(a):\r\n    if a:\r\n        return 1\r\n    «return 2»\r\n",
    "CR": "def f(a):\r    if a:\r        return 1\r    «return 2»\r",
    "form feed": "\x0cdef f(a):\n    return 1 if a else «2»\n",
    "byte order mark": "\ufeffdef f(a):\n    return 1 if a else «2»\n",
    "docstring": (
        'def f(a):\n    """Says."""\n    return 1\ndef g():\n    «"""Never."""\n    return 1»\n'
    ),
    "only a docstring": 'def f(a):\n    """Says."""\ndef g():\n    «"""Never."""»\n',
    "comment": (
        "def f(a):\n    # first\n    if a:  # why\n        # then\n        b = 1\n    return b\n"
    ),
    "comment of what is skipped": "def f(a):\n    if a > 9:\n        «# skipped\n        b = 1»\n",
    "global": "def f(a):\n    global z\n    z = a\ndef g():\n    «global z\n    z = 1»\n",
    "runtime error": "def f(a):\n    b = a\n    c = b + int('x') «* 2»\n    «return c»\n".replace(
        "b + int('x') «* 2»", "b «+» int('x') «* 2»"
    ).replace("    c = ", "    «c» = "),
    "raise": "def f(a):\n    raise ValueError(a)\n    «return 1»\n",
    "assert": "def f(a):\n    assert a, «'never'»\n    assert not a, 'said'\n    «return 1»\n",
    "timeout": "def f(a):\n    b = a\n    while b: pass\n    «return 1»\n",
    "exit": "import os\ndef f(a):\n    os._exit(1)\n    «return 1»\n",
    "crash": "import ctypes\ndef f(a):\n    ctypes.string_at(1)\n    «return 1»\n",
    "walrus": "def f(a):\n    if (b := a) and «not» b:\n        «c = 1»\n".replace("«not»", "not"),
    "yield": "def g():\n    yield 1\n    «yield 2»\ndef f(a):\n    return next(g())\n",
    "annotation": "def f(a: int) -> list[int]:\n    b: int = 1\n    c: str\n    return [b]\n",
    "starred": "def f(a):\n    b, *c = [1, *(«2» for «k» in [])]\n    return max(*[a, b], *c)\n",
    "subscript": "def f(a):\n    b = [1, 2]\n    b[0], b[1:] = b[-1], [a if a else «3»]\n",
    "import": "import math as q\nfrom os import path\ndef f(a):\n    import re\n    return q.pi\n",
    "return in finally": "def f(a):\n    try:\n        return 1\n    finally:\n        a = 2\n",
    "nested functions": (
        "def f(a):\n    def g(b):\n        def h(c):\n            «return c»\n        return b\n"
        "    return g(a)\n"
    ),
}


def unmarked(marked):
    """The source, and for each character whether it should be covered (white space aside)."""
    source, expected, is_covered = "", [], True
    for character in marked:
        if character in "«»":
            is_covered = character == "»"
        else:
            source += character
            expected.append(is_covered)
    return source, expected


def flags(source, covered):
    is_covered = [False] * len(source)
    for start, end in covered:
        is_covered[start:end] = [True] * (end - start)
    return is_covered


def show(source, is_covered):
    pairs = zip(source, is_covered, strict=True)
    return "".join(c if ok or c.isspace() else f"«{c}»" for c, ok in pairs).replace("»«", "")


def run_one(client, source, tests=CALLED_WITH_3, wall_s=2.0):
    limits = Limits(wall_s=wall_s)
    request = Request(id="c", source=source, tests=tests, limits=limits, coverage=True)
    return client.submit(request).result()


@pytest.mark.parametrize("name", TABLE)
def test_table(client, name):
    source, expected = unmarked(TABLE[name])
    result = run_one(client, source, wall_s=0.3 if name == "timeout" else 5.0)
    assert show(source, flags(source, result.covered)) == show(source, expected)


def test_spans_are_sorted_and_disjoint(client):
    source, _ = unmarked(TABLE["match"])
    covered = run_one(client, source).covered
    assert all(start < end for start, end in covered)
    assert all(a[1] < b[0] for a, b in pairwise(covered))
    assert covered[-1][1] <= len(source)


def test_compile_error_covers_nothing(client):
    assert run_one(client, "def f(:").covered == ()


def test_union_over_the_tests_that_ran(client):
    source = (
        "a = int(input())\nif a == 1:\n    print(1)\nelif a == 2:\n    print(2)\n"
        "else:\n    print(3)\n"
    )
    two = IoTests(fn_name=None, inputs=("1", "2", "3"), outputs=("1", "0", "3"))
    is_covered = flags(source, run_one(client, source, two).covered)
    ran = {k for k in (1, 2, 3) if is_covered[source.index(f"print({k})")]}
    assert ran == {1, 2}, "the third test comes after one that failed"


def test_too_deep_for_expressions_falls_back_to_lines(client):
    source = "def f(a):\n    x = " + "+".join(["a"] * 3000) + "\n    return x\n    y = 1\n"
    is_covered = flags(source, run_one(client, source).covered)
    assert is_covered[source.index("x =")]
    assert not is_covered[source.index("y =")]


def test_tampering_stays_inside_the_source(client):
    source = (
        "import gc, mmap\ndef f(a):\n    for x in gc.get_objects():\n"
        "        if type(x) is memoryview and not x.readonly:\n"
        "            for k in range(min(len(x), 5000)): x[k] = 1\n"
    )
    for start, end in run_one(client, source).covered:
        assert 0 <= start < end <= len(source)


def generated(seeds):
    sources = {}
    for seed in seeds:
        source = Generator(seed).program()
        names = {}
        exec(compile(source, "generated", "exec"), names)
        sources[str(seed)] = (source, set(names["seen"]))
    return sources


def check_generated(client, seeds):
    script = IoTests(fn_name=None, inputs=("",), outputs=("",))
    sources = generated(seeds)
    requests = [
        Request(id=seed, source=source, tests=script, coverage=True)
        for seed, (source, _) in sources.items()
    ]
    for result in client.run(requests):
        source, seen = sources[result.id]
        is_covered = flags(source, result.covered)
        markers = {match.start(): int(match[1]) for match in re.finditer(r"\bm\((\d+)", source)}
        found = {k for at, k in markers.items() if all(is_covered[at : at + len(f"m({k}")])}
        none = {k for at, k in markers.items() if not any(is_covered[at : at + len(f"m({k}")])}
        assert result.verdict == "passed", result
        assert found == seen, (result.id, found ^ seen, show(source, is_covered))
        assert none == set(markers.values()) - seen, result.id


def test_generated_programs(client):
    check_generated(client, range(120))


@pytest.mark.slow
def test_many_generated_programs(client):
    check_generated(client, range(1000, 5000))


@pytest.mark.parametrize("source", ["while True: pass\n", "while 1:\n    ...\n"])
def test_a_loop_of_nothing_but_a_jump_has_run(client, source):
    tests = IoTests(fn_name=None, inputs=("",), outputs=("",))
    limits = Limits(wall_s=0.3)
    endless = Request(id="endless", source=source, tests=tests, limits=limits, coverage=True)
    assert client.submit(endless).result().covered == ((0, len(source)),)
