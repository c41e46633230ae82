"""The ladder of isolation, and what a zygote needs to know of the rung it stands on.

``full``: namespaces with a private root, Landlock where there is one, a system-call filter, limits.
``landlock``: Landlock, filter, limits: no file but Python's own can be read, none written.
``seccomp``: filter and limits: no file can be written, no process, socket or signal made, but
files that the user may read can be read. ``none``: limits only.
"""

import contextlib
import fcntl
import os
import resource
import signal
import sys
import sysconfig
from collections.abc import Callable
from dataclasses import dataclass, field

from slot import landlock, namespaces, seccomp
from slot.account import Account
from slot.child import Files
from slot.syscalls import UnsupportedError, drop_capabilities, prctl

_PR_SET_DUMPABLE = 4
_MAX_DESCRIPTORS, _MAX_PROCESSES = 128, 256
_DEVICES = ("/dev/null", "/dev/zero", "/dev/urandom", "/dev/random")
_SYSTEM_FILES = (
    *("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/share/zoneinfo", "/etc/localtime"),
    *("/etc/ld.so.cache", *_DEVICES),
)


@dataclass(frozen=True, kw_only=True)
class Sandbox:
    """A rung that has been entered.

    seal_child: called in each child before the program.
    kill_strays: ends what a program, whose process number it is given, may have left running.
    clean: empties the place where programs may write.
    """

    files: Files
    base_memory_bytes: int
    seal_child: Callable[[], None]
    kill_strays: Callable[[int], None]
    clean: Callable[[], None]
    notes: list[str] = field(default_factory=list)


def enter(rung: str) -> Sandbox:
    """Enter a rung for good, after everything has been imported.

    Raises:
        UnsupportedError: the machine does not offer a layer of this rung.
    """
    _limit_slot()
    base_memory_bytes = _address_space_bytes()
    match rung:
        case "full":
            return _enter_full(base_memory_bytes)
        case "landlock":
            files = _memory_files()
            landlock.confine(_python_files(), writable=["/dev/null"])
            return _enter_filter(files, base_memory_bytes, [])
        case "seccomp":
            return _enter_filter(_memory_files(), base_memory_bytes, [])
        case "none":
            programs = Account()
            return Sandbox(
                files=_memory_files(),
                base_memory_bytes=base_memory_bytes,
                seal_child=_ended_with_its_slot(programs.enter),
                kill_strays=programs.end,
                clean=_nothing,
                notes=["programs can read, write and reach what this user can", *programs.notes],
            )
    raise UnsupportedError(f"there is no rung {rung!r}")


def _enter_full(base_memory_bytes: int) -> Sandbox:
    namespaces.build_root(_python_files())
    namespaces.become_nobody()
    files = _named_files()
    notes = []
    try:
        landlock.confine(
            [*_python_files(), namespaces.IO_FOLDER],
            writable=["/dev/null", namespaces.IO_FOLDER],
            scratch=namespaces.SCRATCH,
        )
    except UnsupportedError as error:
        notes.append(f"without Landlock: {error.strerror}")
    drop_capabilities()
    prctl(_PR_SET_DUMPABLE, 0)
    resource.setrlimit(resource.RLIMIT_NPROC, (_MAX_PROCESSES, _MAX_PROCESSES))
    seccomp.lock_slot(has_scratch=True)
    return Sandbox(
        files=files,
        base_memory_bytes=base_memory_bytes,
        seal_child=seccomp.child_seal(),
        kill_strays=_kill_everything,
        clean=_empty_scratch,
        notes=notes,
    )


def _enter_filter(files: Files, base_memory_bytes: int, notes: list[str]) -> Sandbox:
    if os.geteuid() == 0:
        drop_capabilities()
    prctl(_PR_SET_DUMPABLE, 0)
    seccomp.lock_slot(has_scratch=False)
    return Sandbox(
        files=files,
        base_memory_bytes=base_memory_bytes,
        seal_child=_ended_with_its_slot(seccomp.child_seal()),
        kill_strays=_nothing_left,
        clean=_nothing,
        notes=notes,
    )


def _ended_with_its_slot(seal: Callable[[], None]) -> Callable[[], None]:
    """``seal`` for a child that no namespace ends when its slot, this process, is killed."""
    slot = os.getpid()

    def seal_and_tie() -> None:
        prctl(namespaces.PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != slot:
            os._exit(1)
        seal()

    return seal_and_tie


def _limit_slot() -> None:
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 2)
    os.close(null)
    os.umask(0o022)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (_MAX_DESCRIPTORS, _MAX_DESCRIPTORS))
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as score:
        score.write("1000")


def _python_files() -> list[str]:
    """What an import may still need: the standard library and the system's shared libraries."""
    paths = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib")}
    paths |= {path for path in sys.path if os.path.exists(path)}
    library = sysconfig.get_config_var("LIBDIR")
    shared = sysconfig.get_config_var("LDLIBRARY")
    if library and shared:
        paths.add(os.path.join(library, shared))
    return sorted(path for path in paths if path) + list(_SYSTEM_FILES)


def _memory_files() -> Files:
    """Files that have no path."""
    stdin, stdout, records = (os.memfd_create(name) for name in ("stdin", "stdout", "records"))
    fcntl.fcntl(stdout, fcntl.F_SETFL, os.O_APPEND)
    return Files(stdin=stdin, stdout=stdout, records=records)


def _named_files() -> Files:
    """Files in the slot's own folder, so that ``/dev/stdin`` can be opened by name."""
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
    stdin = os.open(f"{namespaces.IO_FOLDER}/stdin", flags, 0o600)
    stdout = os.open(f"{namespaces.IO_FOLDER}/stdout", flags | os.O_APPEND, 0o600)
    records = os.open(f"{namespaces.IO_FOLDER}/records", flags, 0o600)
    os.unlink(f"{namespaces.IO_FOLDER}/records")
    return Files(stdin=stdin, stdout=stdout, records=records)


def _address_space_bytes() -> int:
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[0]) * os.sysconf("SC_PAGESIZE")


def _kill_everything(pid: int) -> None:
    """End every other process of the namespace, in which this one is the first."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(-1, signal.SIGKILL)


def _nothing_left(pid: int) -> None:
    """A sealed child cannot have made a process."""


def _nothing() -> None:
    """There is no place where programs may write."""


def _empty_scratch() -> None:
    """Remove everything from the scratch folder, links unfollowed, however deep it is nested."""
    moved = 0
    while entries := _entries(namespaces.SCRATCH):
        for entry in entries:
            if not entry.is_dir(follow_symlinks=False):
                os.unlink(entry.path)
                continue
            # A program makes folders of any mode: one may be filled and yet not be read.
            os.chmod(entry.path, 0o700)
            for inner in _entries(entry.path):
                if inner.is_dir(follow_symlinks=False):
                    # Brought up one level instead of walked down to: no path can get too long.
                    while os.path.lexists(free := f"{namespaces.SCRATCH}/.emptying-{moved}"):
                        moved += 1
                    # A folder that may not be written to may not be moved either.
                    os.chmod(inner.path, 0o700)
                    os.rename(inner.path, free)
                else:
                    os.unlink(inner.path)
            os.rmdir(entry.path)


def _entries(folder: str) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as found:
        return list(found)
