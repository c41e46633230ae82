"""System-call filters: an allow-list for the slot, and a narrower one on top for each child."""

import errno
import os
from collections.abc import Callable

from slot.bpf import (
    ALLOW,
    ERRNO,
    answer,
    assemble,
    except_values,
    finish,
    head,
    only_any_bit,
    only_values,
    unless_any_bit,
)
from slot.syscalls import prctl

_PR_SET_NO_NEW_PRIVS = 38

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
    "sendto",
    "recvfrom",
    "getsockname",
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
    "chmod",
    "fchmodat",
    "mkdir",
    "mkdirat",
    "unlink",
    "unlinkat",
    "rmdir",
    "rename",
    "renameat",
    "renameat2",
]
_CLOSE_ON_EXEC, _NON_BLOCKING = 0o2000000, 0o4000
_STREAM_PAIRS = tuple(
    1 | on_exec | blocking for on_exec in (0, _CLOSE_ON_EXEC) for blocking in (0, _NON_BLOCKING)
)
_FORBIDDEN_TO_CHILD = ("fork", "pidfd_open", "seccomp", "prctl", "tkill", "chmod", "fchmodat")


def lock_slot(*, has_scratch: bool) -> None:
    """Put this process and its children under the allow-list.

    Args:
        has_scratch: files may be opened for writing, as the slot has a place of its own for them.
    """
    prctl(_PR_SET_NO_NEW_PRIVS, 1)
    names = _ALLOWED + (_ALLOWED_IN_SCRATCH if has_scratch else [])
    code = head()
    code += unless_any_bit("openat", 2, 0 if has_scratch else _OPEN_TO_WRITE, errno.EACCES)
    code += unless_any_bit("open", 1, 0 if has_scratch else _OPEN_TO_WRITE, errno.EACCES)
    code += unless_any_bit("clone", 0, _NEW_NAMESPACES, errno.EPERM)
    code += only_values("ioctl", 1, _IOCTLS, errno.ENOTTY)
    # A pair of streams, connected to each other for good, is what an event loop wakes itself with.
    code += only_values("socketpair", 1, _STREAM_PAIRS, errno.EPERM)
    code += except_values("fcntl", 1, _SET_OWNER, errno.EPERM)
    # The C library then falls back to clone, whose flags a filter can read.
    code += answer("clone3", ERRNO | errno.ENOSYS)
    for name in names:
        code += answer(name, ALLOW)
    assemble([*code, finish(ERRNO | errno.EPERM)]).install()


def child_seal() -> Callable[[], None]:
    """A function that a child calls before its program: no processes, signals only to itself.

    The filter is built here, so that the child only fills in its own number.
    """
    code = head()
    for name in _FORBIDDEN_TO_CHILD:
        code += answer(name, ERRNO | errno.EPERM)
    code += only_any_bit("clone", 0, _CLONE_THREAD, errno.EPERM)
    code += only_values("prlimit64", 0, (0,), errno.EPERM)
    own_number_at = []
    for name in ("kill", "tgkill"):
        code += only_values(name, 0, (0,), errno.EPERM)
        own_number_at.append(len(code) - 3)
    built = assemble([*code, finish(ALLOW)])

    def seal() -> None:
        for index in own_number_at:
            built.instructions[index].k = os.getpid()
        built.install()

    return seal
