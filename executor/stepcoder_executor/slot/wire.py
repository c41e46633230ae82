"""Frames on a stream: a 32-bit little-endian length, then that many bytes.

Between the client and the broker a frame is JSON; what it is between the broker and a slot stands
in ``slot/messages.py``. Nothing on any channel is ever unpickled.
"""

import json
import os
import struct
from collections.abc import Iterator
from typing import Any

_LENGTH = struct.Struct("<I")
MAX_FRAME_BYTES = 1 << 30


class FrameError(ValueError):
    """Bytes that are not a frame: the other side is not to be trusted any further."""


def frame(*pieces: bytes) -> bytes:
    """One frame with the pieces, one after another, as its content.

    Raises:
        FrameError: they are longer than a frame may be.
    """
    size = sum(map(len, pieces))
    _check_size(size)
    return b"".join((_LENGTH.pack(size), *pieces))


def json_frame(fields: dict[str, Any]) -> bytes:
    """One frame with a JSON object."""
    return frame(json.dumps(fields).encode())


def json_fields(content: bytes) -> dict[str, Any]:
    """The JSON object of a frame. Raises FrameError when it is none."""
    try:
        fields = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise FrameError(f"not a JSON frame: {error}") from error
    if not isinstance(fields, dict):
        raise FrameError(f"a JSON frame with {type(fields).__name__}")
    return fields


def write_all(fd: int, data: bytes) -> None:
    """Write every byte of ``data`` to a blocking descriptor."""
    written = os.write(fd, data)
    if written < len(data):
        view = memoryview(data)[written:]
        while view:
            view = view[os.write(fd, view) :]


def read_frame(fd: int) -> bytes:
    """The content of the next frame of a blocking descriptor.

    Raises:
        EOFError: the other side has closed.
        FrameError: what came is not a frame.
    """
    (size,) = _LENGTH.unpack(_read_exactly(fd, _LENGTH.size))
    _check_size(size)
    return _read_exactly(fd, size)


class FrameReader:
    """Cuts a stream that arrives in pieces into frames."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Take ``data`` and yield the content of every frame that is now complete."""
        self._buffer += data
        while len(self._buffer) >= _LENGTH.size:
            (size,) = _LENGTH.unpack_from(self._buffer)
            _check_size(size)
            end = _LENGTH.size + size
            if len(self._buffer) < end:
                return
            content = bytes(self._buffer[_LENGTH.size : end])
            del self._buffer[:end]
            yield content


def _check_size(size: int) -> None:
    if size > MAX_FRAME_BYTES:
        raise FrameError(f"frame of {size} bytes")


def _read_exactly(fd: int, size: int) -> bytes:
    data = os.read(fd, size) if size else b""
    if len(data) == size:
        return data
    pieces = [data]
    while size > 0:
        if not pieces[-1]:
            raise EOFError("the channel was closed")
        size -= len(pieces[-1])
        if size:
            pieces.append(os.read(fd, min(size, 1 << 20)))
    return b"".join(pieces)
