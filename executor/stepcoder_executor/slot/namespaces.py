"""Namespaces of the slot's own, and a root that holds Python, a few devices and a scratch folder.

Needs no privilege where users may make user namespaces. Started as root, the slot ends up as
``nobody`` there, so that the kernel's limits on processes count it.
"""

import os
import signal
from collections.abc import Iterable, Sequence

from slot.syscalls import UnsupportedError, call, mount, prctl, unmount

_MS_RDONLY, _MS_NOSUID, _MS_NODEV, _MS_NOEXEC = 1, 2, 4, 8
_MS_REMOUNT, _MS_BIND, _MS_REC, _MS_PRIVATE = 32, 4096, 16384, 1 << 18
_MNT_DETACH = 2
PR_SET_PDEATHSIG = 1
_NOBODY = 65534
_MOUNT_POINTS = ("/tmp", "/var/tmp", "/mnt", "/srv")
_IO_BYTES, _SCRATCH_BYTES, _SCRATCH_INODES = 256 << 20, 32 << 20, 2048
_ADVICE = (
    "allow user namespaces (sysctl user.max_user_namespaces > 0, kernel.unprivileged_userns_clone "
    "= 1, kernel.apparmor_restrict_unprivileged_userns = 0; in a container, a seccomp profile "
    "that lets unshare and mount through)"
)
IO_FOLDER, SCRATCH = "/io", "/tmp"


def enter() -> None:
    """Move into new namespaces. The calling process stays outside, waiting; its child returns.

    Raises:
        UnsupportedError: the machine forbids it; the message says what to change.
    """
    try:
        _unshare()
    except OSError as error:
        raise UnsupportedError(error.errno, f"{error.strerror}: {_ADVICE}") from error
    pid = os.fork()
    if pid:
        os.closerange(3, 1024)
        _, status = os.waitpid(pid, 0)
        os._exit(os.waitstatus_to_exitcode(status) & 0xFF)
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def build_root(readable: Sequence[str]) -> None:
    """Replace the root by one with ``readable``, read-only, ``/io``, ``/tmp`` and devices.

    Raises:
        UnsupportedError: the machine forbids mounting here.
    """
    try:
        mount("none", "/", None, _MS_REC | _MS_PRIVATE)
        root = next(path for path in _MOUNT_POINTS if os.path.isdir(path))
        mount("root", root, "tmpfs", _MS_NOSUID | _MS_NODEV, "size=1m,mode=755")
        _fill(root, readable)
        os.chdir(root)
        _pivot()
        mount("none", "/", None, _MS_REMOUNT | _MS_BIND | _MS_RDONLY | _MS_NOSUID | _MS_NODEV)
        os.chdir(SCRATCH)
    except OSError as error:
        raise UnsupportedError(error.errno, f"a private root: {error.strerror}") from error


def become_nobody() -> None:
    """Give up the uid that made the namespaces, where it was root's, and every capability."""
    if os.geteuid() == 0:
        os.setresgid(_NOBODY, _NOBODY, _NOBODY)
        os.setresuid(_NOBODY, _NOBODY, _NOBODY)
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _unshare() -> None:
    flags = (
        os.CLONE_NEWUSER | os.CLONE_NEWNS | os.CLONE_NEWPID
        | os.CLONE_NEWNET | os.CLONE_NEWIPC | os.CLONE_NEWUTS
    )  # fmt: skip
    uid, gid = os.geteuid(), os.getegid()
    if uid != 0:
        os.unshare(flags)
        _write("/proc/self/setgroups", "deny")
        _write("/proc/self/uid_map", f"{uid} {uid} 1")
        _write("/proc/self/gid_map", f"{gid} {gid} 1")
        return
    # Only a process that has stayed outside may map a second user, the one to become.
    ready, unshared = os.pipe()
    outside = os.fork()
    if outside == 0:
        # Else it would hold open what it waits on, and outlive a slot that failed here.
        os.close(unshared)
        os._exit(_map_two(os.getppid(), ready))
    os.close(ready)
    os.setgroups([])
    os.unshare(flags)
    os.write(unshared, b".")
    _, status = os.waitpid(outside, 0)
    os.close(unshared)
    if status:
        raise PermissionError(1, "root may not map a second user into a user namespace")


def _map_two(pid: int, ready: int) -> int:
    """Map root and nobody for ``pid`` once it has its namespace; an exit status."""
    try:
        if not os.read(ready, 1):
            return 1
        for name in ("uid_map", "gid_map"):
            _write(f"/proc/{pid}/{name}", f"0 0 1\n{_NOBODY} {_NOBODY} 1\n")
    except OSError:
        return 1
    return 0


def _fill(root: str, readable: Iterable[str]) -> None:
    for path in readable:
        _show(root, path)
    for name, size, inodes in (
        (IO_FOLDER, _IO_BYTES, 16),
        (SCRATCH, _SCRATCH_BYTES, _SCRATCH_INODES),
    ):
        os.makedirs(root + name, exist_ok=True)
        options = f"size={size},nr_inodes={inodes},mode=1777"
        mount("slot", root + name, "tmpfs", _MS_NOSUID | _MS_NODEV | _MS_NOEXEC, options)
    os.makedirs(f"{root}/dev", exist_ok=True)
    for name in ("stdin", "stdout"):
        os.symlink(f"{IO_FOLDER}/{name}", f"{root}/dev/{name}")


def _show(root: str, path: str) -> None:
    """Make ``path`` of the machine visible, read-only, at the same place under ``root``."""
    inside = root + path
    if os.path.lexists(inside) or not os.path.lexists(path):
        return
    os.makedirs(os.path.dirname(inside), exist_ok=True)
    if os.path.islink(path):
        os.symlink(os.readlink(path), inside)
        _show(root, os.path.realpath(path))
        return
    if os.path.isdir(path):
        os.mkdir(inside)
    else:
        os.close(os.open(inside, os.O_CREAT | os.O_WRONLY, 0o644))
    mount(path, inside, None, _MS_BIND | _MS_REC)
    # What was locked on the original mount may not be left out here.
    locked = os.statvfs(path).f_flag & (_MS_NOSUID | _MS_NODEV | _MS_NOEXEC)
    flags = _MS_REMOUNT | _MS_BIND | _MS_NOSUID | locked
    mount("none", inside, None, flags if path.startswith("/dev/") else flags | _MS_RDONLY)


def _pivot() -> None:
    call("pivot_root", b".", b".")
    unmount(".", _MNT_DETACH)
    os.chdir("/")


def _write(path: str, text: str) -> None:
    with open(path, "w") as file:
        file.write(text)
