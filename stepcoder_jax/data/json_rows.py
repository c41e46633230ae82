"""Rows of a JSON file one at a time: lines, or the elements of one list or object, gzipped or not.

A row that is broken costs that row alone: lines are found by their ends, and in a list the reading
goes on at the next place where an element can begin.
"""

import gzip
import io
import json
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stepcoder_jax.data.json_container import Fault, elements

MAX_ROW_BYTES = 64 << 20
_BOM = b"\xef\xbb\xbf"
_GZIP = b"\x1f\x8b"
_DECODER = json.JSONDecoder()
_OBJECT_OR_END = re.compile(r"\s*(?=\{|\Z)")
_OBJECT_OF_ROWS = re.compile(rb'\{\s*"(?:[^"\\]|\\.)*"\s*:\s*\{')


@dataclass(frozen=True, kw_only=True)
class Row:
    """A parsed row, and its place for messages."""

    where: str
    value: Any


@dataclass(frozen=True, kw_only=True)
class Rejected:
    """A row that cannot be used.

    Attributes:
      where: file and line, row or folder.
      reason: the kind of fault, then a colon and the details.
    """

    where: str
    reason: str


def read_rows(path: Path) -> Iterator[Row | Rejected]:
    """Yields a file's rows in order; holds one of them at a time.

    Names ending in ``.jsonl`` are lines. Others are what they begin as: a list, or an object of
    rows by their ids (each then gets ``id``, unless it has one), or lines. gzip is unpacked,
    whatever the name.
    """
    where = str(path)
    try:
        with _opened(path) as stream:
            for row in (_elements if _is_container(stream, path) else _lines)(stream):
                where = f"{path} {row.where}"
                if isinstance(row, Row):
                    yield Row(where=where, value=row.value)
                else:
                    yield Rejected(where=where, reason=row.reason)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        yield Rejected(where=f"{path} after {where}", reason=f"damaged gzip: {error}")


def decode_json(text: str | bytes) -> Any:
    """The value of a JSON text.

    Raises:
      ValueError: why it is none, in words for a report.
    """
    with _told():
        return json.loads(_decoded(text) if isinstance(text, bytes) else text)


@contextmanager
def _told() -> Iterator[None]:
    """Turns what JSON's decoder raises into words for a report."""
    try:
        yield
    except UnicodeDecodeError as error:
        byte = error.object[error.start]
        raise ValueError(f"not UTF-8: byte 0x{byte:02x} at {error.start}") from error
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON: {error}") from error
    except ValueError as error:
        raise ValueError(f"not usable JSON: {error}") from error
    except RecursionError as error:
        raise ValueError("not usable JSON: nested too deeply") from error


def _decoded(data: bytes) -> str:
    if b"\0" in data:
        raise ValueError("NUL bytes, as UTF-16 has; JSON is UTF-8")
    return data.decode()


def _opened(path: Path) -> io.BufferedReader:
    with path.open("rb") as stream:
        is_gzip = stream.read(len(_GZIP)) == _GZIP
    # A GzipFile is a raw stream in all but its class.
    return io.BufferedReader(gzip.open(path)) if is_gzip else path.open("rb")


def _is_container(stream: io.BufferedReader, path: Path) -> bool:
    if path.name.removesuffix(".gz").endswith(".jsonl"):
        return False
    head = stream.peek().removeprefix(_BOM).lstrip()
    if head[:1] == b"[":
        return True
    return _OBJECT_OF_ROWS.match(head) is not None and not _is_row(head.partition(b"\n")[0])


def _is_row(line: bytes) -> bool:
    """Whether a line is an object, and not one whose values are rows."""
    try:
        value = decode_json(line)
    except ValueError:
        return False
    return not all(isinstance(field, dict) for field in value.values())


def _lines(stream: io.BufferedReader) -> Iterator[Row | Rejected]:
    number = 0
    while line := stream.readline(MAX_ROW_BYTES):
        number += 1
        where = f"line {number}"
        if len(line) == MAX_ROW_BYTES and not line.endswith(b"\n"):
            while (rest := stream.readline(1 << 20)) and not rest.endswith(b"\n"):
                pass
            yield Rejected(where=where, reason=f"too long: more than {MAX_ROW_BYTES >> 20} MiB")
            continue
        yield from _on_line(where, line.removeprefix(_BOM))


def _on_line(where: str, line: bytes) -> Iterator[Row | Rejected]:
    """The row of a line; all of them where objects follow each other, as in files joined badly."""
    end, count = 0, 0
    try:
        with _told():
            text = _decoded(line).strip()
        while end < len(text):
            count += 1
            with _told():
                value, end = _object_at(text, end)
            yield Row(where=where if count == 1 else f"{where}.{count}", value=value)
    except ValueError as error:
        yield Rejected(where=where if count < 2 else f"{where}.{count}", reason=str(error))


def _object_at(text: str, start: int) -> tuple[Any, int]:
    """A value, and where the next object or the end of the text is."""
    value, end = _DECODER.raw_decode(text, start)
    following = _OBJECT_OR_END.match(text, end)
    if following is None:
        raise json.JSONDecodeError("Extra data", text, end)
    return value, following.end()


def _elements(stream: io.BufferedReader) -> Iterator[Row | Rejected]:
    # Bytes that are not UTF-8 become lone surrogates, so that they spoil their own row alone.
    with io.TextIOWrapper(
        stream, encoding="utf-8-sig", errors="surrogateescape", newline=""
    ) as text:
        for number, element in enumerate(elements(text, MAX_ROW_BYTES), start=1):
            where = f"row {number}"
            if isinstance(element, Fault):
                yield Rejected(where=where, reason=element.reason)
            else:
                yield Row(where=where, value=element)
