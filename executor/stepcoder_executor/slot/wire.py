"""Frames on a stream: total length, header length, a JSON header, raw blobs.

Both lengths are little-endian 32-bit; ``header["blobs"]`` gives the blobs' sizes. Nothing on any
channel is ever unpickled.
"""

import json
import os
import struct
from collections.abc import Iterator
from typing import Any

_PREFIX = struct.Struct("<II")
MAX_FRAME_BYTES = 1 << 30

Frame = tuple[dict[str, Any], list[bytes]]


class FrameError(ValueError):
    """Bytes that are not a frame: the other side is not to be trusted any further."""


def pack(header: dict[str, Any], *blobs: bytes) -> bytes:
    """One frame as bytes."""
    head = json.dumps(header | {"blobs": [len(blob) for blob in blobs]}).encode()
    total = len(head) + sum(map(len, blobs))
    return b"".join((_PREFIX.pack(total, len(head)), head, *blobs))


def write_all(fd: int, data: bytes) -> None:
    """Write every byte of ``data`` to a blocking descriptor."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def read_frame(fd: int) -> Frame:
    """The next frame of a blocking descriptor.

    Raises:
        EOFError: the other side has closed.
        FrameError: what came is not a frame.
    """
    total, head_size = _PREFIX.unpack(_read_exactly(fd, _PREFIX.size))
    _check_sizes(total, head_size)
    return _unpack(_read_exactly(fd, total), head_size)


class FrameReader:
    """Cuts a stream that arrives in pieces into frames."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Take ``data`` and yield every frame that is now complete."""
        self._buffer += data
        while len(self._buffer) >= _PREFIX.size:
            total, head_size = _PREFIX.unpack_from(self._buffer)
            _check_sizes(total, head_size)
            end = _PREFIX.size + total
            if len(self._buffer) < end:
                return
            body = bytes(self._buffer[_PREFIX.size : end])
            del self._buffer[:end]
            yield _unpack(body, head_size)


def _unpack(body: bytes, head_size: int) -> Frame:
    try:
        header = json.loads(body[:head_size])
        sizes = header["blobs"]
        blobs, start = [], head_size
        for size in sizes:
            blobs.append(body[start : start + size])
            start += size
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise FrameError(f"not a frame: {error}") from error
    return header, blobs


def _check_sizes(total: int, head_size: int) -> None:
    if not head_size <= total <= MAX_FRAME_BYTES:
        raise FrameError(f"frame of {total} bytes with a header of {head_size}")


def _read_exactly(fd: int, size: int) -> bytes:
    pieces = []
    while size:
        piece = os.read(fd, min(size, 1 << 20))
        if not piece:
            raise EOFError("the channel was closed")
        pieces.append(piece)
        size -= len(piece)
    return b"".join(pieces)
