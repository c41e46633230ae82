"""The elements of one large JSON list or object, one at a time, past those that are broken."""

import io
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

_CHUNK = 1 << 20
# An error this near the end of what has been read may only mean that more must be read.
_MARGIN = 16
_DECODER = json.JSONDecoder()
_SPACE = re.compile(r"[\s,]*")
_NOT_TEXT = "not UTF-8: a byte that belongs to no character"
_KEY = re.compile(r'"((?:[^"\\]|\\.)*)"\s*:\s*')
# Where an element can begin, after one that is broken.
_ROW_IN_LIST = re.compile(r'[,\n]\s*(?=\{\s*")')
_ROW_IN_OBJECT = re.compile(r'[,\n]\s*(?="(?:[^"\\]|\\.)*"\s*:\s*\{)')


@dataclass(frozen=True, kw_only=True)
class Fault:
    """An element that cannot be read, and why."""

    reason: str


def elements(text: io.TextIOWrapper, most_chars: int) -> Iterator[Any]:
    """Yields the elements of the list or object that ``text`` holds, and a ``Fault`` for each that
    is broken.

    Args:
      text: decoded with ``surrogateescape``, so that bytes that are no UTF-8 can be told.
      most_chars: how long an element may be; more is a fault.
    """
    return _Scanner(text, most_chars).run()


class _Scanner:
    """A window of the text: ``buffer[pos:]`` is what has been read and not used."""

    def __init__(self, text: io.TextIOWrapper, most_chars: int) -> None:
        self.text = text
        self.most_chars = most_chars
        self.buffer = ""
        self.pos = 0
        self.ended = False

    def run(self) -> Iterator[Any]:
        self._skip()
        self.in_object = self.buffer[self.pos] == "{"
        self.pos += 1
        is_lost = False
        while True:
            self._skip()
            if self._is_over():
                return
            try:
                value = self._element()
            except (ValueError, RecursionError) as error:
                if not is_lost:
                    yield Fault(reason=self._reason(error))
                is_lost = True
                if not self._find_next():
                    return
            else:
                is_lost = False
                yield value

    def _reason(self, error: ValueError | RecursionError) -> str:
        match error:
            case json.JSONDecodeError():
                return f"not JSON: {error.msg} at character {error.pos - self.pos} of the row"
            case RecursionError():
                return "not usable JSON: nested too deeply"
        return f"not usable JSON: {error}"

    def _is_over(self) -> bool:
        """Whether the container was closed and nothing follows."""
        if self.buffer[self.pos : self.pos + 1] not in ("]", "}"):
            return False
        kept, self.pos = self.pos, self.pos + 1
        self._skip()
        is_over = self.pos == len(self.buffer)
        if not is_over:
            self.pos = kept
        return is_over

    def _element(self) -> Any:
        """The element at ``pos``, which moves behind it.

        Raises:
          ValueError: there is none, or not a whole one.
        """
        if self.pos == len(self.buffer):
            raise json.JSONDecodeError("the file ends before its list", self.buffer, self.pos)
        while True:
            try:
                value, end = self._decode()
            except json.JSONDecodeError as error:
                is_cut = error.msg.startswith("Unterminated") or error.pos > self._limit()
                if self.ended or not is_cut:
                    raise
                if len(self.buffer) - self.pos > self.most_chars:
                    raise ValueError(f"more than {self.most_chars} characters") from error
            else:
                if end < len(self.buffer) or self.ended:
                    raw, self.pos = self.buffer[self.pos : end], end
                    return value if _is_text(raw) else Fault(reason=_NOT_TEXT)
            self._fill()

    def _decode(self) -> tuple[Any, int]:
        if not self.in_object:
            return _DECODER.raw_decode(self.buffer, self.pos)
        key = _KEY.match(self.buffer, self.pos)
        if key is None:
            where = (
                self.pos
                if self.ended or len(self.buffer) - self.pos > _CHUNK
                else self._limit() + 1
            )
            raise json.JSONDecodeError("Expecting a key and a colon", self.buffer, where)
        value, end = _DECODER.raw_decode(self.buffer, key.end())
        if isinstance(value, dict):
            value = {"id": key[1], **value}
        return value, end

    def _limit(self) -> int:
        return len(self.buffer) - _MARGIN

    def _find_next(self) -> bool:
        """Moves to the next place where an element can begin; False: there is none."""
        boundary = _ROW_IN_OBJECT if self.in_object else _ROW_IN_LIST
        self.pos += 1
        while True:
            found = boundary.search(self.buffer, self.pos)
            if found:
                self.pos = found.end()
                return True
            if self.ended:
                return False
            self.pos = max(self.pos, len(self.buffer) - 1000)
            self._fill()

    def _skip(self) -> None:
        while True:
            space = _SPACE.match(self.buffer, self.pos)
            self.pos = space.end() if space else self.pos
            if self.pos < len(self.buffer) or self.ended:
                return
            self._fill()

    def _fill(self) -> None:
        """Reads as much again as is waiting, so that a long element is decoded few times."""
        more = self.text.read(max(_CHUNK, len(self.buffer) - self.pos))
        self.buffer = self.buffer[self.pos :] + more
        self.pos = 0
        self.ended = not more


def _is_text(raw: str) -> bool:
    try:
        raw.encode()
    except UnicodeEncodeError:
        return False
    return True
