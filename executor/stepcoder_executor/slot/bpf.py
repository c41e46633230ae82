"""The small language in which the kernel takes system-call filters."""

import ctypes
from dataclasses import dataclass

from slot.syscalls import audit_architecture, number, prctl

_PR_SET_SECCOMP, _MODE_FILTER = 22, 2
_LOAD, _JUMP_EQUAL, _JUMP_ANY_BIT, _RETURN = 0x20, 0x15, 0x45, 0x06
ALLOW, KILL, ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
_NUMBER_AT, _ARCHITECTURE_AT, _ARGUMENTS_AT = 0, 4, 16


class _Instruction(ctypes.Structure):
    _fields_ = (
        ("code", ctypes.c_uint16),
        ("jump_true", ctypes.c_uint8),
        ("jump_false", ctypes.c_uint8),
        ("k", ctypes.c_uint32),
    )


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_uint16), ("filter", ctypes.POINTER(_Instruction)))


Code = list[tuple[int, int, int, int]]


@dataclass(frozen=True, kw_only=True)
class Filter:
    """A filter in the form that the kernel takes."""

    program: _Program
    instructions: ctypes.Array[_Instruction]

    def install(self) -> None:
        """Put the calling thread under the filter, for good. Raises OSError when refused."""
        prctl(_PR_SET_SECCOMP, _MODE_FILTER, ctypes.byref(self.program))


def head() -> Code:
    """End a process of another architecture, then load the number of the call."""
    return [
        (_LOAD, 0, 0, _ARCHITECTURE_AT),
        (_JUMP_EQUAL, 1, 0, audit_architecture()),
        finish(KILL),
        (_LOAD, 0, 0, _NUMBER_AT),
    ]


def answer(name: str, action: int) -> Code:
    """Answer every call of this name with ``action``."""
    return _for(name, [finish(action)])


def unless_any_bit(name: str, argument: int, bits: int, error: int) -> Code:
    """Allow a call unless one of ``bits`` is set in an argument."""
    test = (_JUMP_ANY_BIT, 0, 1, bits)
    return _for(name, [load(argument), test, finish(ERRNO | error), finish(ALLOW)])


def only_any_bit(name: str, argument: int, bits: int, error: int) -> Code:
    """Allow a call only if one of ``bits`` is set in an argument."""
    test = (_JUMP_ANY_BIT, 1, 0, bits)
    return _for(name, [load(argument), test, finish(ERRNO | error), finish(ALLOW)])


def only_values(name: str, argument: int, values: tuple[int, ...], error: int) -> Code:
    """Allow a call only if an argument is one of ``values``."""
    tests = [(_JUMP_EQUAL, len(values) - k, 0, value) for k, value in enumerate(values)]
    return _for(name, [load(argument), *tests, finish(ERRNO | error), finish(ALLOW)])


def except_values(name: str, argument: int, values: tuple[int, ...], error: int) -> Code:
    """Allow a call unless an argument is one of ``values``."""
    tests = [(_JUMP_EQUAL, len(values) - k, 0, value) for k, value in enumerate(values)]
    return _for(name, [load(argument), *tests, finish(ALLOW), finish(ERRNO | error)])


def _for(name: str, body: Code) -> Code:
    """``body``, which ends in a return, for the call of this name; nothing if there is none."""
    nr = number(name)
    return [] if nr is None else [(_JUMP_EQUAL, 0, len(body), nr), *body]


def load(argument: int) -> tuple[int, int, int, int]:
    """Load the low half of an argument: every one that is tested is an int in the kernel."""
    return (_LOAD, 0, 0, _ARGUMENTS_AT + 8 * argument)


def finish(action: int) -> tuple[int, int, int, int]:
    """End the filter with ``action``."""
    return (_RETURN, 0, 0, action)


def assemble(code: Code) -> Filter:
    """The code in the form that the kernel takes."""
    instructions = (_Instruction * len(code))(*(_Instruction(*words) for words in code))
    program = _Program(len(code), ctypes.cast(instructions, ctypes.POINTER(_Instruction)))
    return Filter(program=program, instructions=instructions)
