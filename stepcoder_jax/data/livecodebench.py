"""LiveCodeBench (Jain et al., arXiv 2403.07974): the JSON of its code-generation scenario."""

import base64
import binascii
import json
import pickletools
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from stepcoder_jax.data.apps_plus import arguments
from stepcoder_jax.data.json_rows import decode_json, read_rows
from stepcoder_jax.data.problems import ProblemError
from stepcoder_jax.data.raw import (
    Found,
    RawProblem,
    as_object,
    first_of,
    parsed,
    question_field,
    raw_problem,
    text_field,
)

# release_v3 is the files of v1, v2 and v3; "test" is whatever is there.
FILES = {1: "test.jsonl"} | {n: f"test{n}.jsonl" for n in range(2, 7)}
SPLITS = (
    "test",
    *(f"release_v{n}" for n in FILES),
    *(f"v{n}" for n in FILES),
)
_MOST_BYTES = 256 << 20
_TEXT = {"SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "UNICODE"}
_FRAMING = {"PROTO", "FRAME", "MEMOIZE", "BINPUT", "LONG_BINPUT", "PUT", "STOP"}
LEVELS = {"easy": "introductory", "medium": "interview", "hard": "competition"}


def file_names(split: str) -> Sequence[str]:
    """The published files that make up a split, all of which it needs."""
    number = int(split[-1])
    return [FILES[n] for n in FILES if n == number or (n < number and split.startswith("release"))]


def read_livecodebench(split: str, files: Sequence[Path]) -> Iterator[Found]:
    """Yields the problems of the files, in their order."""
    assert split in SPLITS
    for file in files:
        yield from parsed(read_rows(file), _parse)


def _parse(row: Any, where: str) -> RawProblem:
    row = as_object(row, where)
    level = text_field(row, where, "difficulty")
    if level not in LEVELS:
        raise ProblemError(f"{where}: difficulty = {level!r:.80}: must be one of {tuple(LEVELS)}")
    metadata = _inside(row, "metadata", where) or {}
    fn_name = first_of(as_object(metadata, f"{where}: metadata"), "func_name", "fn_name")
    return raw_problem(
        {
            "id": f"livecodebench/{text_field(row, where, 'question_id')}",
            "question": question_field(row, where, "question_content"),
            "difficulty": LEVELS[level],
            "starter_code": text_field(row, where, "starter_code", default=""),
            "tests": _tests(row, fn_name, where),
            "source": "livecodebench",
        },
        [],
        where,
    )


def _tests(row: Mapping[str, Any], fn_name: Any, where: str) -> dict[str, Any]:
    cases = []
    for name in ("public_test_cases", "private_test_cases"):
        found = _inside(row, name, where) or []
        if not isinstance(found, list):
            raise ProblemError(f"{where}: {name} = {found!r:.80}: must be a list")
        cases += [as_object(case, f"{where}: {name}") for case in found]
    if not cases:
        raise ProblemError(f"{where}: no tests: public_test_cases and private_test_cases are empty")
    kinds = {case.get("testtype") for case in cases}
    if kinds != {"functional" if fn_name else "stdin"}:
        raise ProblemError(f"{where}: testtype = {kinds}: func_name in metadata is {fn_name!r:.80}")
    inputs = [text_field(case, where, "input") for case in cases]
    outputs = [text_field(case, where, "output") for case in cases]
    if not fn_name:
        return {"fn_name": None, "inputs": inputs, "outputs": outputs}
    return {
        "fn_name": fn_name,
        "inputs": [arguments(text, where) for text in inputs],
        "outputs": [_value(text, where) for text in outputs],
    }


def _value(text: str, where: str) -> Any:
    try:
        return decode_json(text)
    except ValueError as error:
        raise ProblemError(f"{where}: output of a call is {error}") from error


def _inside(row: Mapping[str, Any], name: str, where: str) -> Any:
    """A field's value, out of the JSON or of the packing in which it is written as text."""
    value = row.get(name)
    if not isinstance(value, str):
        return value
    if not value.strip():
        return None
    try:
        return json.loads(value)
    except ValueError:
        pass
    try:
        return decode_json(unpack(value))
    except ValueError as error:
        raise ProblemError(f"{where}: {name} is {error}") from error


def unpack(packed: str) -> str:
    """The text inside base64 of zlib of a pickle.

    Nothing is unpickled: the pickle's instructions are listed, and any but those that spell one
    text are refused.

    Raises:
      ValueError: it is not such a packing, or unpacks to more than 256 MiB.
    """
    try:
        opener = zlib.decompressobj()
        raw = opener.decompress(base64.b64decode(packed, validate=True), _MOST_BYTES)
    except (binascii.Error, zlib.error) as error:
        raise ValueError(f"neither JSON nor packed: {error}") from error
    if not opener.eof:
        raise ValueError(f"cut off, or packed from more than {_MOST_BYTES >> 20} MiB")
    try:
        steps = [(step.name, value) for step, value, _ in pickletools.genops(raw)]
    except (ValueError, AttributeError) as error:
        raise ValueError(f"packed, but no pickle: {error}") from error
    texts = [str(value) for name, value in steps if name in _TEXT]
    others = {name for name, _ in steps} - _TEXT - _FRAMING
    if others or len(texts) != 1:
        raise ValueError(f"packed, but not as one text: {', '.join(sorted(others))}")
    return texts[0]
