"""What the broker and a slot say to each other: a kind byte, fixed fields, then what varies.

Fixed fields and not JSON: a slot's own work between two programs is part of what each one costs.
"""

import struct
from typing import NamedTuple, Self

# To a slot. A job may be sent while another runs; until it begins it can be had back.
JOB, STOP, RECALL, MAP = b"J", b"S", b"B", b"M"
# From a slot.
READY, REFUSED, DONE, PARTIAL, RETURNED, MAPPED = b"R", b"X", b"D", b"P", b"T", b"C"
STDIO, CALL, ASSERTIONS = range(3)
NO_LIMIT_S = float("inf")

_JOB = struct.Struct("<IBIIddQQQ??")
_ABOUT = struct.Struct("<I")
_ANSWER = struct.Struct("<IQii???ddIII")
_MAP = struct.Struct("<I")


class Job(NamedTuple):
    """What the broker asks of a slot, without the program itself. Limits are those of one test."""

    seq: int
    mode: int
    n_tests: int
    first: int
    wall_s: float
    cpu_s: float
    memory_bytes: int
    output_bytes: int
    input_bytes: int
    coverage: bool
    run_all: bool

    def to_content(self, body: bytes) -> bytes:
        """The job as a frame's content; ``body`` is the JSON text that the child is given."""
        return b"".join((JOB, _JOB.pack(*self), body))


class Answer(NamedTuple):
    """How far a child came and how it ended; ``exit_code`` -1 and ``signal`` 0 mean none.

    ``records`` and ``stdout`` are what it wrote; ``hits`` has, for each code unit of the program,
    the number from 1 of the first test that executed it, 16-bit.
    """

    seq: int
    phase: int
    exit_code: int
    signal: int
    timed_out: bool
    used_up_cpu: bool
    stopped: bool
    wall_s: float
    cpu_s: float
    records: bytes
    stdout: bytes
    hits: bytes

    def to_content(self, kind: bytes) -> bytes:
        """The answer as a frame's content, ``DONE`` or ``PARTIAL``."""
        *fixed, records, stdout, hits = self
        sizes = map(len, (records, stdout, hits))
        return b"".join((kind, _ANSWER.pack(*fixed, *sizes), records, stdout, hits))

    @classmethod
    def from_content(cls, content: bytes) -> Self:
        """The answer in a frame's content. Raises ValueError when it is none."""
        try:
            *fixed, n_records, n_stdout, n_hits = _ANSWER.unpack_from(content, 1)
        except struct.error as error:
            raise ValueError(f"not an answer: {error}") from error
        start = 1 + _ANSWER.size
        stdout = start + n_records
        hits = stdout + n_stdout
        if len(content) != hits + n_hits:
            raise ValueError(f"an answer of {len(content)} bytes instead of {hits + n_hits}")
        return cls._make((*fixed, content[start:stdout], content[stdout:hits], content[hits:]))


def job_from_content(content: bytes) -> tuple[Job, bytes]:
    """The job in a frame's content, and its body."""
    return Job._make(_JOB.unpack_from(content, 1)), content[1 + _JOB.size :]


def about(kind: bytes, seq: int) -> bytes:
    """A ``STOP`` (end job ``seq``, or return it), ``RECALL`` (return it) or ``RETURNED``."""
    return kind + _ABOUT.pack(seq)


def seq_of(content: bytes) -> int:
    """The job that a message is about. Raises ValueError when it is about none."""
    try:
        (seq,) = _ABOUT.unpack_from(content, 1)
    except struct.error as error:
        raise ValueError(f"about no job: {error}") from error
    return int(seq)


def map_content(source: bytes, executed: bytes) -> bytes:
    """Ask a mapper for the spans of ``source``, given a byte for each code unit: 1, executed."""
    return b"".join((MAP, _MAP.pack(len(source)), source, executed))


def map_from_content(content: bytes) -> tuple[bytes, bytes]:
    """The source and the executed code units that a ``MAP`` is about."""
    (size,) = _MAP.unpack_from(content, 1)
    start = 1 + _MAP.size
    return content[start : start + size], content[start + size :]
