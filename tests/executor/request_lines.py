"""Valid requests, and lines that are nearly such requests."""

import json
from random import Random
from typing import Any

SAMPLES: dict[str, dict[str, Any]] = {
    "call": {
        "id": "a",
        "source": "def f(x): return [x]",
        "tests": {"fn_name": "f", "inputs": [[1], ["é"]], "outputs": [[1], ["é"]]},
        "limits": {"wall_s": 3, "cpu_s": None, "memory_mb": 512, "output_kb": 64},
        "coverage": True,
    },
    "script": {
        "id": "b",
        "source": "print(input())",
        "tests": {"fn_name": None, "inputs": ["1\n", ["1", "2"]], "outputs": ["1", ["1"]]},
        "limits": {"wall_s": 2.5},
    },
    "assertions": {
        "id": "c",
        "source": "def f(x): return {x: 1.5}",
        "tests": {"assertions": ["assert f(1) == {1: 1.5}", "assert f(k)"], "setup": "k = 2"},
    },
}

LAST = b'{"id": "last", "source": "print(input())", "tests": {"inputs": ["a"], "outputs": ["a"]}}'

# JSON texts by type. No number here is one that a limit may be.
VALUES = {
    "null": ["null"],
    "boolean": ["true", "false"],
    "number": [
        "0", "-0", "-0.0", "-1", "1e999", "-1e999", "1e-999", "1e300", "NaN", "Infinity",
        "-Infinity", "9" * 400, "9" * 5000, "0." + "0" * 5000 + "1", "1e" + "9" * 400,
    ],
    "string": [
        '""', '"é"', '"\\ud800"', '"\\udfff\\ud800"', '"\\u0000"', '"\\ufeff"', '"1"', '"null"',
        '"\\u202e\\u2028"', '"𐀀"', '"' + "a" * 5000 + '"',
    ],
    "array": ["[]", "[[]]", "[null]", "[" * 90 + "]" * 90],
    "object": ["{}", '{"": 1}', '{"id": "z"}', '{"assertions": []}'],
}  # fmt: skip
_ANY = [text for texts in VALUES.values() for text in texts]
_BROKEN = ["", "nul", "'a'", "01", "1.", "+1", "{", "]", "[1,]", '"\\x"', '"\x01"', "\ufeff", "\\"]
_DEEP = ["[" * 100_000, "[" * 100_000 + "]" * 100_000, '{"a":' * 2000 + "0" + "}" * 2000]
_KEYS = ["", "ID", "id ", "іd", "\\u0069d", "source", "tests", "limits", "inputs", "\\ud800", "0"]

ODD_LINES = {
    "not UTF-8": b"\xff\xfe",
    "a surrogate in the source": (
        b'{"id": "a", "source": "\\ud800", "tests": {"inputs": [""], "outputs": [""]}}'
    ),
    "a surrogate in the id": b'{"id": "\\udfff", "source": 1}',
    "a byte order mark": b"\xef\xbb\xbf" + LAST.replace(b"last", b"marked"),
    "UTF-16": LAST.decode().replace("last", "wide").encode("utf-16"),
    "NUL": b"\x00",
    "NULs": b"\x00" * 64,
    "nothing but a number": b"NaN",
    "a long number": b'{"id": ' + b"9" * 5000 + b"}",
    "an open string": b'"' + b"a" * 100_000,
    "an open list": b"[" * 100_000,
    "deep lists": b"[" * 100_000 + b"]" * 100_000,
    "deep objects": b'{"id":' * 100_000 + b"0" + b"}" * 100_000,
    "the same key twice": b'{"id": "first", "id": "second", "source": ""}',
    "the same id again": LAST.replace(b"last", b"again"),
    "and again": LAST.replace(b"last", b"again"),
    "no id": b'{"source": ""}',
    "half an assertion": b'{"id": "b", "source": "", "tests": {"assertions": ["assert"]}}',
    "NUL in an assertion": (
        b'{"id": "c", "source": "", "tests": {"assertions": ["assert \\u0000f()"]}}'
    ),
    "a surrogate in an assertion": (
        b'{"id": "d", "source": "", "tests": {"assertions": ["assert f(\'\\ud800\') == 1"]}}'
    ),
}  # fmt: skip

# What goes before and after the call in an assertion, as often as one likes.
NESTED = {
    "brackets": ("(", ")"),
    "lists": ("[", "]"),
    "minus signs": ("-", ""),
    "negations": ("not ", ""),
    "sums": ("1+", ""),
    "calls": ("f(", ")"),
    "attributes": ("", ".a"),
    "comparisons": ("1<", ""),
    "lambdas": ("lambda: ", ""),
}


def mutated_text(random: Random) -> bytes:
    """A request with one to three changes at random places of its JSON."""
    sample = random.choice(list(SAMPLES.values()))
    changes = random.choice([1, 1, 2, 3])
    text = _write(sample | {"id": f"{random.random()}"}, random, [changes])
    return (text or "0").encode("utf-8", "surrogatepass")


def mutated_bytes(random: Random) -> bytes:
    """A request with bytes changed, left out, put in or repeated."""
    sample = random.choice(list(SAMPLES.values())) | {"id": f"{random.random()}"}
    line = bytearray(json.dumps(sample, ensure_ascii=random.random() < 0.5).encode())
    for _ in range(random.choice([1, 1, 2, 4, 30])):
        start = random.randrange(len(line) + 1)
        end = start + random.choice([0, 1, 1, 5])
        piece = random.choice([random.randbytes(1), random.randbytes(4), bytes(line[:end][-9:])])
        line[start:end] = random.choice([b"", piece, piece])
    return bytes(line).replace(b"\n", b"\r").strip() or b"0"


def _write(value: Any, random: Random, changes: list[int]) -> str:
    """``value`` as JSON text; ``changes`` holds how many are still to be made."""
    if changes[0] and random.random() < 0.08:
        changes[0] -= 1
        return _instead(value, random)
    if isinstance(value, dict):
        return _object(value, random, changes)
    if isinstance(value, list):
        return "[" + ", ".join(_write(item, random, changes) for item in value) + "]"
    return json.dumps(value)


def _instead(value: Any, random: Random) -> str:
    match random.randrange(10):
        case 0:
            return random.choice(_BROKEN)
        case 1:
            return random.choice(_DEEP)
        case 2:
            return f"[{json.dumps(value)}]"
        case 3:
            return f'{{"a": {json.dumps(value)}}}'
        case 4:
            return json.dumps(json.dumps(value))
    return random.choice(_ANY)


def _object(fields: dict[str, Any], random: Random, changes: list[int]) -> str:
    pairs = [(json.dumps(name), _write(value, random, changes)) for name, value in fields.items()]
    if changes[0] and random.random() < 0.3:
        changes[0] -= 1
        k = random.randrange(len(pairs))
        match random.randrange(5):
            case 0:
                del pairs[k]
            case 1:
                pairs.append(pairs[k])
            case 2:
                pairs.append((pairs[k][0], random.choice(_ANY)))
            case 3:
                pairs[k] = (f'"{random.choice(_KEYS)}"', pairs[k][1])
            case _:
                pairs.append((f'"{random.choice(_KEYS)}"', random.choice(_ANY)))
        random.shuffle(pairs)
    return "{" + ", ".join(f"{name}: {value}" for name, value in pairs) + "}"
