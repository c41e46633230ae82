"""System-call filters: an allow-list for the slot, and a narrower one on top for each child."""

import ctypes
import errno
import os
from collections.abc import Callable
from dataclasses import dataclass

from slot.syscalls import audit_architecture, number, prctl

_PR_SET_SECCOMP, _MODE_FILTER, _PR_SET_NO_NEW_PRIVS = 22, 2, 38
_LOAD, _JUMP_EQUAL, _JUMP_ANY_BIT, _RETURN = 0x20, 0x15, 0x45, 0x06
_ALLOW, _KILL, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
_NUMBER_AT, _ARCHITECTURE_AT, _ARGUMENTS_AT = 0, 4, 16

_NEW_NAMESPACES = 0x7E020000
_CLONE_THREAD = 0x10000
_OPEN_TO_WRITE = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | 0o20000000
_IOCTLS = (0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)
_SET_OWNER = (8, 10, 15)

# The commonest first: a filter is searched from its beginning.
_ALLOWED = [
    "read",
    "write",
    "lseek",
    "fstat",
    "close",
    "newfstatat",
    "stat",
    "lstat",
    "futex",
    "mmap",
    "munmap",
    "mprotect",
    "brk",
    "madvise",
    "mremap",
    "rt_sigaction",
    "rt_sigprocmask",
    "rt_sigreturn",
    "sigaltstack",
    "getpid",
    "gettid",
    "clock_gettime",
    "wait4",
    "waitid",
    "poll",
    "ppoll",
    "pread64",
    "pwrite64",
    "ftruncate",
    "dup",
    "dup2",
    "dup3",
    "exit",
    "exit_group",
    "getrandom",
    "prlimit64",
    "setrlimit",
    "getrlimit",
    "readv",
    "writev",
    "access",
    "faccessat",
    "faccessat2",
    "readlink",
    "readlinkat",
    "getdents64",
    "getcwd",
    "statx",
    "rt_sigpending",
    "rt_sigtimedwait",
    "pipe",
    "pipe2",
    "select",
    "pselect6",
    "epoll_create1",
    "epoll_ctl",
    "epoll_wait",
    "epoll_pwait",
    "eventfd2",
    "set_robust_list",
    "rseq",
    "set_tid_address",
    "sched_yield",
    "sched_getaffinity",
    "sched_getparam",
    "sched_getscheduler",
    "membarrier",
    "getcpu",
    "getppid",
    "getuid",
    "geteuid",
    "getgid",
    "getegid",
    "getgroups",
    "getpgrp",
    "getpgid",
    "getsid",
    "getresuid",
    "getresgid",
    "clock_getres",
    "clock_nanosleep",
    "nanosleep",
    "gettimeofday",
    "time",
    "times",
    "getrusage",
    "sysinfo",
    "uname",
    "fadvise64",
    "fsync",
    "fdatasync",
    "flock",
    "setitimer",
    "getitimer",
    "alarm",
    "pause",
    "arch_prctl",
    "restart_syscall",
    "getpriority",
    "umask",
    "chdir",
    "fchdir",
    "mincore",
    "sendfile",
    "close_range",
    "fork",
    "kill",
    "tkill",
    "tgkill",
    "pidfd_open",
    "seccomp",
    "prctl",
]
_ALLOWED_IN_SCRATCH = [
    "mkdir",
    "mkdirat",
    "unlink",
    "unlinkat",
    "rmdir",
    "rename",
    "renameat",
    "renameat2",
]
_FORBIDDEN_TO_CHILD = ("fork", "pidfd_open", "seccomp", "prctl", "tkill")


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


def lock_slot(*, has_scratch: bool) -> None:
    """Put this process and its children under the allow-list.

    Args:
        has_scratch: files may be opened for writing, as the slot has a place of its own for them.
    """
    prctl(_PR_SET_NO_NEW_PRIVS, 1)
    names = _ALLOWED + (_ALLOWED_IN_SCRATCH if has_scratch else [])
    code = _head()
    code += _unless_any_bit("openat", 2, 0 if has_scratch else _OPEN_TO_WRITE, errno.EACCES)
    code += _unless_any_bit("open", 1, 0 if has_scratch else _OPEN_TO_WRITE, errno.EACCES)
    code += _unless_any_bit("clone", 0, _NEW_NAMESPACES, errno.EPERM)
    code += _only_values("ioctl", 1, _IOCTLS, errno.ENOTTY)
    code += _except_values("fcntl", 1, _SET_OWNER, errno.EPERM)
    # The C library then falls back to clone, whose flags a filter can read.
    code += _answer("clone3", _ERRNO | errno.ENOSYS)
    for name in names:
        code += _answer(name, _ALLOW)
    _assemble([*code, _return(_ERRNO | errno.EPERM)]).install()


def child_seal() -> Callable[[], None]:
    """A function that a child calls before its program: no processes, signals only to itself.

    The filter is built here, so that the child only fills in its own number.
    """
    code = _head()
    for name in _FORBIDDEN_TO_CHILD:
        code += _answer(name, _ERRNO | errno.EPERM)
    code += _only_any_bit("clone", 0, _CLONE_THREAD, errno.EPERM)
    code += _only_values("prlimit64", 0, (0,), errno.EPERM)
    own_number_at = []
    for name in ("kill", "tgkill"):
        code += _only_values(name, 0, (0,), errno.EPERM)
        own_number_at.append(len(code) - 3)
    built = _assemble([*code, _return(_ALLOW)])

    def seal() -> None:
        for index in own_number_at:
            built.instructions[index].k = os.getpid()
        built.install()

    return seal


def _head() -> Code:
    return [
        (_LOAD, 0, 0, _ARCHITECTURE_AT),
        (_JUMP_EQUAL, 1, 0, audit_architecture()),
        _return(_KILL),
        (_LOAD, 0, 0, _NUMBER_AT),
    ]


def _answer(name: str, action: int) -> Code:
    return _for(name, [_return(action)])


def _unless_any_bit(name: str, argument: int, bits: int, error: int) -> Code:
    """Allow a call unless one of ``bits`` is set in an argument."""
    test = (_JUMP_ANY_BIT, 0, 1, bits)
    return _for(name, [_load(argument), test, _return(_ERRNO | error), _return(_ALLOW)])


def _only_any_bit(name: str, argument: int, bits: int, error: int) -> Code:
    """Allow a call only if one of ``bits`` is set in an argument."""
    test = (_JUMP_ANY_BIT, 1, 0, bits)
    return _for(name, [_load(argument), test, _return(_ERRNO | error), _return(_ALLOW)])


def _only_values(name: str, argument: int, values: tuple[int, ...], error: int) -> Code:
    """Allow a call only if an argument is one of ``values``."""
    tests = [(_JUMP_EQUAL, len(values) - k, 0, value) for k, value in enumerate(values)]
    return _for(name, [_load(argument), *tests, _return(_ERRNO | error), _return(_ALLOW)])


def _except_values(name: str, argument: int, values: tuple[int, ...], error: int) -> Code:
    """Allow a call unless an argument is one of ``values``."""
    tests = [(_JUMP_EQUAL, len(values) - k, 0, value) for k, value in enumerate(values)]
    return _for(name, [_load(argument), *tests, _return(_ALLOW), _return(_ERRNO | error)])


def _for(name: str, body: Code) -> Code:
    """``body``, which ends in a return, for the call of this name; nothing if there is none."""
    nr = number(name)
    return [] if nr is None else [(_JUMP_EQUAL, 0, len(body), nr), *body]


def _load(argument: int) -> tuple[int, int, int, int]:
    """Load the low half of an argument: every one that is tested is an int in the kernel."""
    return (_LOAD, 0, 0, _ARGUMENTS_AT + 8 * argument)


def _return(action: int) -> tuple[int, int, int, int]:
    return (_RETURN, 0, 0, action)


def _assemble(code: Code) -> Filter:
    instructions = (_Instruction * len(code))(*code)
    program = _Program(len(code), ctypes.cast(instructions, ctypes.POINTER(_Instruction)))
    return Filter(program=program, instructions=instructions)
